"""Uses clickhouse-driver (the native protocol over TCP) as its users do; says "served" when every answer was right."""

import datetime
import sys

from clickhouse_driver import Client, errors

port, user, password = sys.argv[1:]
where = {"host": "127.0.0.1", "port": int(port), "user": user, "password": password}


def code_of(action):
    """The ClickHouse code of the error that `action` must end with."""
    try:
        action()
    except errors.ServerException as error:
        return error.code
    raise AssertionError("no error")


client = Client(**where)
assert client.execute("SELECT version()")[0][0].startswith("26.7")
client.execute(
    "CREATE TABLE t (a UInt64, s String, d DateTime64(3, 'UTC'), n Nullable(Float64), l LowCardinality(String),"
    " arr Array(Int32), m Map(String, UInt8)) ENGINE = MergeTree ORDER BY a"
)
start = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
rows = [
    (i, f"s{i}", start + datetime.timedelta(milliseconds=i), None if i % 2 else i / 4, f"l{i % 3}", [i, -i], {"k": i % 9})
    for i in range(5000)
]
for number, compression in enumerate((False, "lz4", "zstd"), 1):
    other = Client(compression=compression, **where)
    assert other.execute("INSERT INTO t VALUES", rows) == len(rows)
    assert other.execute("SELECT count(), sum(a) FROM t") == [(5000 * number, 12497500 * number)], compression
back = client.execute("SELECT DISTINCT * FROM t ORDER BY a")
assert [row[:2] + row[3:] for row in back] == [row[:2] + row[3:] for row in rows]
assert client.execute("SELECT %(x)s + 1, %(y)s", {"x": 41, "y": "a'\tb"}) == [(42, "a'\tb")]

# Streams, with progress.
progress = client.execute_with_progress("SELECT sum(number) FROM numbers(50000000)")
seen = [rows_read for rows_read, _ in progress]
assert progress.get_result() == [(1249999975000000,)] and seen and max(seen) <= 50000000, seen[-3:]
total = sum(row[0] for row in client.execute_iter("SELECT number FROM numbers(1000000)", {"max_block_size": 50000}))
assert total == 499999500000

# Errors before and in the middle of an answer leave the connection usable.
assert code_of(lambda: client.execute("SELECT * FROM nope")) == 60
assert code_of(lambda: client.execute("SELECT throwIf(number = 5000000) FROM numbers(10000000)")) == 395
assert code_of(lambda: Client(**{**where, "password": "no"}).execute("SELECT 1")) == 516
assert code_of(lambda: Client(**{**where, "user": "default", "password": ""}).execute("SELECT 1")) == 700
assert client.execute("SELECT 1") == [(1,)]

# External tables, temporary tables, settings, a cancelled query.
table = {"name": "ext", "structure": [("id", "Int32"), ("name", "String")], "data": [{"id": 1, "name": "a"}]}
assert client.execute("SELECT * FROM ext", external_tables=[table]) == [(1, "a")]
client.execute("CREATE TEMPORARY TABLE kept (a Int8)")
client.execute("INSERT INTO kept VALUES", [(1,), (2,)])
assert client.execute("SELECT sum(a) FROM kept") == [(3,)]
assert client.execute("SELECT getSetting('max_threads')", settings={"max_threads": 3}) == [(3,)]
endless = client.execute_iter("SELECT number FROM numbers(100000000000)", {"max_block_size": 1000})
next(endless)
client.cancel()
assert Client(**where).execute("SELECT 1") == [(1,)]
print("served")
