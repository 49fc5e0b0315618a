// Follows `tieline dev` through a line that is cut again and again: node test.mjs TIELINE
// What the wrapper was told is what the feed has.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { follow } from './dist/follow.js';

const customers = 30;
const binary = process.argv[2];
assert(binary, 'usage: node test.mjs TIELINE');
const dir = await mkdtemp(join(tmpdir(), 'tieline-follow-'));
await chmod(dir, 0o711); // as root, Postgres runs under another account, which must get through
const dev = spawn(resolve(binary), ['dev'], {
  env: { ...process.env, TIELINE_DATA_DIR: join(dir, 'data'), TIELINE_ADDR: '127.0.0.1:0', TIELINE_OPS_ADDR: '127.0.0.1:0' },
  stdio: ['ignore', 'ignore', 'inherit'],
});
const ended = new Promise((r) => dev.once('exit', r));

async function stage() {
  for (let end = Date.now() + 120_000; Date.now() < end; await sleep(100)) {
    assert(dev.exitCode === null, 'dev ended before it was up');
    try {
      return JSON.parse(await readFile(join(dir, 'data', 'dev.json'), 'utf8'));
    } catch (e) {
      if (e.code !== 'ENOENT') throw e;
    }
  }
  throw new Error('dev was not up within two minutes');
}

try {
  const { graphql, subscriptions, token, simulators } = await stage();
  const ask = async (query) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const { data, errors } = await (await fetch(graphql, { method: 'POST', headers, body: JSON.stringify({ query }) })).json();
    assert(!errors, JSON.stringify(errors));
    return data;
  };

  // The line: it cuts each connection after some thousand bytes.
  let cuts = 0;
  const target = new URL(subscriptions);
  const line = createServer((near) => {
    const far = connect(Number(target.port), target.hostname);
    let left = 1000 + Math.random() * 6000;
    const cut = () => (near.destroy(), far.destroy());
    for (const end of [near, far]) end.on('error', cut).on('close', cut);
    near.pipe(far);
    far.on('data', (d) => {
      near.write(d.subarray(0, Math.max(0, left)));
      if ((left -= d.length) < 0) cuts++, cut();
    });
  });
  await new Promise((r) => line.listen(0, '127.0.0.1', r));
  const through = (url) => createClient({
    url, webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: Infinity, retryWait: () => sleep(20),
  });

  const query = 'subscription ($after: String) { runUpdates(after: $after) { cursor change { version state step stepState } run { id } } }';
  const { runs: { feedCursor } } = await ask('{ runs(first: 1) { feedCursor } }');
  const told = [];
  const cutting = through(`ws://127.0.0.1:${line.address().port}${target.pathname}`);
  follow(cutting, query, {}, feedCursor, (u) => told.push(u)).catch((e) => told.push(e));
  for (let i = 0; i < customers; i++) {
    const made = await fetch(`${simulators.stripe.url}/_sim/customers`, { method: 'POST', body: JSON.stringify({ params: { name: `Customer ${i}`, email: `c${i}@example.com` } }) });
    assert(made.ok, made.statusText);
  }

  // All of it, over a line that holds, until each customer's two runs are final.
  const all = [];
  const final = new Set();
  const holding = through(subscriptions);
  await new Promise((done, fail) => {
    setTimeout(fail, 60_000, new Error('not all runs were final within a minute')).unref();
    follow(holding, query, {}, feedCursor, (u) => {
      all.push(u);
      if (['SUCCEEDED', 'SUPPRESSED'].includes(u.change.state) && u.run) final.add(u.run.id);
      if (final.size === 2 * customers) done();
    }).catch(fail);
  });
  for (let end = Date.now() + 30_000; told.length < all.length && Date.now() < end; ) await sleep(20);
  const line1 = (u) => JSON.stringify([u.cursor, u.change, u.run?.id]);
  assert.deepEqual(told.map(line1), all.map(line1));
  assert(cuts > 3, `${cuts} cuts`);
  console.log(`ok ${told.length} messages, each once and in order, over a line that was cut ${cuts} times`);
  await Promise.all([cutting.dispose(), holding.dispose()]);
  line.close();
} finally {
  dev.kill('SIGTERM');
  await ended;
  await rm(dir, { recursive: true, force: true });
}
process.exit(0);
