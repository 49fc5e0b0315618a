// Has a person connect an app in a browser: node authorize.mjs TIELINE [PICTURE.png]
// From authorizeConnection through the vendor's consent page, which a simulator stands in for, and back.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { play } from './dev.mjs';

// The console, as far as browsers come back to it.
const console_ = createServer((_, res) => res.setHeader('Content-Type', 'text/html').end('<title>Console</title><h1>The console</h1>'));
await new Promise((r) => console_.listen(0, '127.0.0.1', r));
const origin = `http://127.0.0.1:${console_.address().port}`;

await play({ TIELINE_ORIGINS: origin }, async ({ stage, open, check, shoot }) => {
  const { graphql, token, simulators } = stage;
  const { client: client_id, key: client_secret } = simulators.zohobooks;
  const ask = async (query, variables) => {
    const res = await fetch(graphql, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query, variables }),
    });
    const { data, errors } = await res.json();
    assert(!errors, JSON.stringify(errors));
    return data;
  };
  const authorize = async (input) => {
    const query = `mutation ($input: AuthorizeConnectionInput!) {
      authorizeConnection(input: $input) { authorization { url connectionId } userErrors { field message } } }`;
    const { authorizeConnection: done } = await ask(query, { input: { returnUrl: `${origin}/apps?tab=1`, ...input } });
    assert.deepEqual(done.userErrors, []);
    return done.authorization;
  };
  const books = (name) => ({ app: 'zohobooks', name, credentials: { mode: 'test', data_center: 'us', client_id, client_secret } });
  const connection = async (id) => (await ask('query ($id: ID!) { connection(id: $id) { name state vendorAccount { name } } }', { id })).connection;
  const complaints = [];
  const browser = async () => {
    const page = await open();
    page.on('console', (m) => m.type() === 'error' && !/status of 4\d\d/.test(m.text()) && complaints.push(m.text()));
    page.on('pageerror', (e) => complaints.push(e.stack));
    return page;
  };
  const page = await browser();
  let made;

  await check('whoever says yes has a connection that works', async () => {
    made = await authorize(books('Books by browser'));
    await page.goto(made.url);
    await page.getByText('would like to access your Zoho Books').waitFor();
    await page.getByText('ZohoBooks.invoices.ALL').waitFor();
    assert.equal(await connection(made.connectionId), null);
    await page.getByRole('button', { name: 'Accept' }).click();
    await page.waitForURL(`${origin}/apps?connection=${made.connectionId}&tab=1`);
    await page.getByText('The console').waitFor();
    assert.deepEqual(await connection(made.connectionId), { name: 'Books by browser', state: 'ACTIVE', vendorAccount: { name: 'Demo' } });
  });
  await check('its link works once', async () => {
    await page.goto(made.url);
    await page.getByRole('heading', { name: 'This link works no more' }).waitFor();
  });
  await check('whoever says no comes to a page that helps, and back', async () => {
    const { url, connectionId } = await authorize(books('Refused books'));
    await page.goto(url);
    await page.getByRole('button', { name: 'Reject' }).click();
    await page.getByRole('heading', { name: 'Nothing was connected' }).waitFor();
    await page.getByText('authorize again and accept').waitFor();
    assert(await page.evaluate(() => getComputedStyle(document.body).maxWidth !== 'none'), 'the policy keeps the page from its own style');
    await shoot();
    assert.equal(await connection(connectionId), null);
    await page.getByRole('link', { name: `Back to ${new URL(origin).host}` }).click();
    await page.waitForURL(`${origin}/apps?authorizationError=DECLINED&tab=1`);
  });
  await check('another browser cannot end what this one began', async () => {
    const { url, connectionId } = await authorize(books('Books of two'));
    await page.goto(url);
    await page.getByRole('button', { name: 'Accept' }).waitFor();
    const other = await browser();
    await other.goto(page.url());
    await other.getByRole('button', { name: 'Accept' }).click();
    await other.getByRole('heading', { name: 'This began in another browser' }).waitFor();
    await page.getByRole('button', { name: 'Accept' }).click();
    await page.getByText('The console').waitFor();
    assert.equal((await connection(connectionId)).state, 'ACTIVE');
  });
  await check('a connection whose grant was taken back is repaired', async () => {
    await fetch(`${simulators.zohobooks.url}/_sim/tokens/revoke`, { method: 'POST', body: '{}' });
    const test = 'mutation ($id: ID!) { testConnection(input: { id: $id }) { connection { state stateReason } } }';
    const { connection: broken } = (await ask(test, { id: made.connectionId })).testConnection;
    assert.equal(broken.state, 'NEEDS_REAUTH');
    assert.match(broken.stateReason, /authorizeConnection/);
    const { url, connectionId } = await authorize({ id: made.connectionId });
    assert.equal(connectionId, made.connectionId);
    await page.goto(url);
    await page.getByRole('button', { name: 'Accept' }).click();
    await page.waitForURL(`${origin}/apps?connection=${made.connectionId}&tab=1`);
    assert.equal((await connection(made.connectionId)).state, 'ACTIVE');
  });
  await check('nothing failed or broke the policy', async () => assert.deepEqual(complaints, []));
});
console_.close();
