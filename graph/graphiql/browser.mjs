// Opens the page of `tieline dev` in headless Chromium, as a person would: node browser.mjs TIELINE [PICTURE.png]
// It needs no other host, and fails when the page asks for one. The API below it is held against the public audits of
// GraphQL over HTTP.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { serverAudits } from 'graphql-http';
import { play } from './dev.mjs';

await play({}, async ({ stage, open, check, shoot }) => {
  const { graphql, graphiql, token, simulators } = stage;
  await check('every audit of graphql-http passes', async () => {
    const fetchFn = (url, init) => fetch(url, { ...init, headers: { ...init?.headers, authorization: `Bearer ${token}` } });
    const failed = [];
    const audits = serverAudits({ url: graphql, fetchFn });
    for (const audit of audits) {
      const { status, reason } = await audit.fn();
      if (status !== 'ok') failed.push(`${audit.id} ${audit.name}: ${reason}`);
    }
    assert(audits.length >= 61, `${audits.length} audits`);
    assert.deepEqual(failed, []);
  });
  const page = await open();
  const complaints = [];
  page.on('console', (m) => m.type() === 'error' && !/status of 401/.test(m.text()) && complaints.push(m.text()));
  page.on('pageerror', (e) => complaints.push(e.stack));
  page.on('request', (r) => /^(data|blob):/.test(r.url()) || new URL(r.url()).host === new URL(graphiql).host || complaints.push(`asks ${r.url()}`));

  // The whole result: the editor's own elements are those of the lines in sight.
  const result = () => page.evaluate(() => globalThis.__MONACO.editor.getModels().find((m) => m.uri.path.includes('response')).getValue());
  const shows = async (...texts) => {
    for (let end = Date.now() + 30_000; ; await sleep(50)) {
      const got = await result();
      if (texts.every((t) => got.includes(t))) return;
      assert(Date.now() < end, `the result should show ${texts}, and shows ${got}`);
    }
  };
  const tab = (name) => page.getByRole('tab', { name }).click();
  const send = () => page.locator('.graphiql-execute-button').click();

  await check('without a token the page asks for one, and says when it is wrong', async () => {
    await page.goto(graphiql);
    await page.getByLabel('API token').fill('tl_wrong');
    await page.getByRole('button', { name: 'Go on' }).click();
    await page.getByRole('alert').getByText('the token is not known').waitFor();
  });
  await check('a link brings the token, which leaves the address', async () => {
    await page.goto(`${graphiql}#token=${token}`);
    await page.locator('.viewer', { hasText: 'Demo' }).waitFor();
    assert(!page.url().includes('token'), page.url());
  });
  await check('the first document runs', async () => {
    await page.locator('.graphiql-query-editor').getByText('connections', { exact: false }).first().waitFor();
    await send();
    await shows('"ACTIVE"');
  });
  await check('the schema is there, to read and to write by', async () => {
    await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
    await page.locator('.graphiql-plugin').getByText('Mutation', { exact: true }).first().click();
    await page.locator('.graphiql-plugin').getByText('createConnection').first().waitFor();
    await page.getByRole('button', { name: 'Hide Documentation Explorer' }).click();
  });
  await check('a run is seen live', async () => {
    await tab('FollowRuns');
    await send();
    await page.locator('.graphiql-execute-button[aria-label^="Stop"]').waitFor();
    const customer = async () => {
      const res = await fetch(`${simulators.stripe.url}/_sim/customers`, {
        method: 'POST',
        body: JSON.stringify({ params: { name: 'Grace Hopper', email: 'grace.browser@example.com' } }),
      });
      const made = await res.json();
      assert(res.ok, JSON.stringify(made));
      return made.id;
    };
    const id = await customer();
    await shows(id, 'Grace Hopper', '"RUNNING"', '"SUCCEEDED"', '"before"');
    await page.locator('.graphiql-response').getByText(id).first().waitFor();
  });
  await shoot();
  await check('it stops when told', async () => {
    await send();
    await page.locator('.graphiql-execute-button[aria-label^="Execute"]').waitFor();
  });
  await check('a reload keeps token and tabs, and the token can be left', async () => {
    await page.reload();
    await page.locator('.viewer', { hasText: 'Demo' }).waitFor();
    await tab('FindMapping'); // at once, before the editors are there
    await page.locator('.graphiql-query-editor').getByText('mappingByExternalId').waitFor();
    await page.getByRole('button', { name: 'Another token' }).click();
    await page.getByLabel('API token').waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.getItem('tieline:token')), null);
  });
  await check('nothing failed, broke the policy or went elsewhere', async () => assert.deepEqual(complaints, []));
});
