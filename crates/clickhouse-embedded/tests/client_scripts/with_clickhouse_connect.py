"""Uses clickhouse-connect as its users do; says "served" when every answer was right."""

import datetime
import sys

import clickhouse_connect
from clickhouse_connect.driver.exceptions import Error
from clickhouse_connect.driver.external import ExternalData

port, user, password = sys.argv[1:]
where = {"host": "127.0.0.1", "port": int(port), "username": user, "password": password}
client = clickhouse_connect.get_client(**where)
assert client.server_version.startswith("26.7"), client.server_version
assert client.ping()


def code_of(action):
    """The ClickHouse code of the error that `action` must end with."""
    try:
        action()
    except Error as error:
        text = str(error)
        return int(text.split("Code: ")[1].split(".")[0])
    raise AssertionError("no error")


client.command(
    "CREATE TABLE t (a UInt64, s String, d DateTime64(3), n Nullable(Float64), l LowCardinality(String),"
    " arr Array(Int32), m Map(String, UInt8)) ENGINE = MergeTree ORDER BY a"
)
start = datetime.datetime(2024, 1, 1)
rows = [
    [i, f"s{i}", start + datetime.timedelta(milliseconds=i), None if i % 2 else i / 4, f"l{i % 3}", [i, -i], {"k": i % 9}]
    for i in range(5000)
]
names = ["a", "s", "d", "n", "l", "arr", "m"]
times = 0
for compress in (True, False, "lz4", "zstd", "gzip"):
    other = clickhouse_connect.get_client(compress=compress, **where)
    assert other.insert("t", rows, column_names=names).written_rows == len(rows)
    times += 1
    assert other.query("SELECT count(), sum(a) FROM t").result_rows == [(5000 * times, 12497500 * times)], compress
assert [list(row) for row in client.query("SELECT DISTINCT * FROM t ORDER BY a").result_rows] == rows

empty = client.query("SELECT a, m FROM t WHERE a > 1000000")
assert empty.result_rows == []
assert client.query("SELECT {x:UInt32} + 1, {y:String}", parameters={"x": 41, "y": "a'\tb"}).result_rows == [(42, "a'\tb")]
assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 2}).result_rows == [(2,)]
assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'
with client.query_rows_stream("SELECT number FROM numbers(1000000)") as stream:
    assert sum(row[0] for row in stream) == 499999500000
with client.query_column_block_stream("SELECT number FROM numbers(1000000)") as stream:
    assert sum(len(block[0]) for block in stream) == 1000000

assert code_of(lambda: client.query("SELECT * FROM nope")) == 60
assert code_of(lambda: client.query("SELEC 1")) == 62
assert code_of(lambda: clickhouse_connect.get_client(**{**where, "password": "no"})) == 516
broken = "SELECT throwIf(number = 5000000) FROM numbers(10000000)"
assert code_of(lambda: client.query(broken)) == 395


def read_broken():
    with client.query_rows_stream(broken) as stream:
        for _ in stream:
            pass


assert code_of(read_broken) == 395

client.command("CREATE TEMPORARY TABLE kept (a Int8)")
client.insert("kept", [[1], [2]], column_names=["a"])
assert client.query("SELECT sum(a) FROM kept").result_rows == [(3,)]
client.command("SET max_threads = 3")
assert client.query("SELECT getSetting('max_threads')").result_rows == [(3,)]
external = ExternalData(file_name="m.csv", data=b"1,a\n2,b\n", fmt="CSV", structure="id Int32, name String")
assert client.query("SELECT * FROM m ORDER BY id", external_data=external).result_rows == [(1, "a"), (2, "b")]

# Progress while a query works, in headers, and in a session that keeps its settings.
session = clickhouse_connect.get_client(session_id="kept-by-name", **where)
session.command("SET max_block_size = 1000")
again = clickhouse_connect.get_client(session_id="kept-by-name", **where)
assert again.query("SELECT getSetting('max_block_size')").result_rows == [(1000,)]
summary = session.query("SELECT sum(number) FROM numbers(1000000)", settings={"send_progress_in_http_headers": 1}).summary
assert int(summary["read_rows"]) == 1000000, summary

# Numpy-free streaming of blocks, in order, with back-pressure.
with session.query_row_block_stream("SELECT number FROM numbers(500000)") as stream:
    expected = 0
    for block in stream:
        assert block[0][0] == expected
        expected += len(block)
    assert expected == 500000
raw = session.raw_stream("SELECT number FROM numbers(100000)", fmt="JSONEachRow")
assert sum(len(piece) for piece in iter(lambda: raw.read(65536), b"")) == sum(len('{"number":%d}\n' % n) for n in range(100000))
print("served")
