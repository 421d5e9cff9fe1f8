// Uses @clickhouse/client (Node.js) as its users do; says "served" when every answer was right.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Readable } from 'node:stream';

const [folder, port, username, password] = process.argv.slice(2);
const { createClient } = createRequire(`${folder}/`)('@clickhouse/client');
const where = { url: `http://127.0.0.1:${port}`, username, password };
const client = createClient(where);

const codeOf = async (action) => {
  try {
    await action();
  } catch (error) {
    return error.code;
  }
  throw new Error('no error');
};

assert.equal((await client.ping()).success, true);
const create = 'CREATE TABLE t (a UInt64, s String, n Nullable(Float64), arr Array(Int32)) ENGINE = MergeTree ORDER BY a';
await client.command({ query: create });
const rows = (from, count) =>
  Array.from({ length: count }, (_, i) => ({ a: String(from + i), s: `s${i}`, n: i % 2 ? null : i / 4, arr: [i, -i] }));
for (const compression of [{}, { request: true, response: true }]) {
  const other = createClient({ ...where, compression });
  const inserted = await other.insert({ table: 't', values: rows(0, 1000), format: 'JSONEachRow' });
  assert.equal(inserted.summary?.written_rows, '1000');
  await other.close();
}
const stream = Readable.from((function* () { for (const row of rows(1000, 50000)) yield row; })(), { objectMode: true });
await client.insert({ table: 't', values: stream, format: 'JSONEachRow' });
const counted = await client.query({ query: 'SELECT count() AS c FROM t', format: 'JSONEachRow' });
assert.deepEqual(await counted.json(), [{ c: 52000 }]);

const bound = await client.query({
  query: 'SELECT {x:UInt32} + 1 AS x, {y:String} AS y',
  query_params: { x: 41, y: "a'\tb" },
  format: 'JSONEachRow',
});
assert.deepEqual(await bound.json(), [{ x: 42, y: "a'\tb" }]);

let streamed = 0;
const answer = await client.query({ query: 'SELECT number FROM numbers(500000)', format: 'JSONCompactEachRow' });
for await (const piece of answer.stream()) streamed += piece.length;
assert.equal(streamed, 500000);

let progressed = 0;
const progress = await client.query({
  query: 'SELECT sum(number) AS s FROM numbers(50000000)',
  format: 'JSONEachRowWithProgress',
  clickhouse_settings: { interactive_delay: '1000' },
});
for await (const pieces of progress.stream()) {
  for (const piece of pieces) if ('progress' in piece.json()) progressed += 1;
}
assert.ok(progressed > 0);

const session = createClient({ ...where, session_id: 'kept-by-name' });
await session.command({ query: 'CREATE TEMPORARY TABLE kept (a Int8)' });
await session.insert({ table: 'kept', values: [{ a: 1 }, { a: 2 }], format: 'JSONEachRow' });
const kept = await session.query({ query: 'SELECT sum(a) AS s FROM kept', format: 'JSONEachRow' });
assert.deepEqual(await kept.json(), [{ s: 3 }]);

assert.equal(await codeOf(() => client.query({ query: 'SELECT * FROM nope' })), '60');
assert.equal(await codeOf(() => createClient({ ...where, password: 'no' }).query({ query: 'SELECT 1' })), '516');
const broken = async () => {
  const query = 'SELECT throwIf(number = 5000000) FROM numbers(10000000)';
  const result = await client.query({ query, format: 'JSONCompactEachRow' });
  for await (const _ of result.stream());
};
await assert.rejects(broken, 'a broken answer must not look whole');

const controller = new AbortController();
const slow = client.query({
  query: 'SELECT sum(sleepEachRow(0.01)) FROM numbers(100000)',
  query_id: 'slow',
  clickhouse_settings: { max_block_size: '10', readonly: '2' },
  abort_signal: controller.signal,
});
const running = async (wanted) => {
  const query = "SELECT count() AS c FROM system.processes WHERE query_id = 'slow'";
  for (let tries = 0; tries < 500; tries += 1) {
    const [{ c }] = await (await client.query({ query, format: 'JSONEachRow' })).json();
    if (c === wanted) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`never ${wanted}`);
};
await running(1);
controller.abort();
await assert.rejects(slow);
await running(0);
await Promise.all([client.close(), session.close()]);
console.log('served');
