// What the browser tests share: a `tieline dev` of their own, headless Chromium, and checks that are counted.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';

// play starts dev with these settings and calls test with what dev.json says, a way to open a browser, and check. The
// process fails when a check does.
export async function play(settings, test) {
  const [binary, picture] = process.argv.slice(2);
  const executablePath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => p && existsSync(p));
  assert(binary, `usage: node ${basename(process.argv[1])} TIELINE [PICTURE.png]`);
  assert(executablePath, 'there is no Chromium: install it, or name it in CHROMIUM');

  const dir = await mkdtemp(join(tmpdir(), 'tieline-browser-'));
  await chmod(dir, 0o711); // as root, Postgres runs under another account, which must get through
  const dev = spawn(resolve(binary), ['dev'], {
    env: { ...process.env, TIELINE_DATA_DIR: join(dir, 'data'), TIELINE_ADDR: '127.0.0.1:0', TIELINE_OPS_ADDR: '127.0.0.1:0', ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = [];
  dev.stdout.on('data', (d) => said.push(d));
  const ended = new Promise((r) => dev.once('exit', r));

  async function stage() {
    for (let end = Date.now() + 300_000; Date.now() < end; await sleep(100)) {
      assert(dev.exitCode === null, 'dev ended before it was up');
      try {
        return JSON.parse(await readFile(join(dir, 'data', 'dev.json'), 'utf8'));
      } catch (e) {
        if (e.code !== 'ENOENT') throw e;
      }
    }
    throw new Error('dev was not up within five minutes');
  }

  let passed = 0;
  async function check(what, f) {
    await f();
    passed++;
    console.log(`ok ${what}`);
  }

  let browser;
  let page;
  // open is a browser of its own: it shares no cookies with the others. One that is opened is the picture's.
  async function open() {
    browser ??= await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    });
    page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    page.setDefaultTimeout(30_000);
    return page;
  }
  const shoot = async () => picture && (await page?.screenshot({ path: picture }));

  try {
    await test({ stage: await stage(), open, check, shoot });
    console.log(`${passed} passed, 0 failed`);
  } catch (e) {
    console.log(Buffer.concat(said).toString());
    console.log(e);
    await shoot();
    console.log(`${passed} passed, 1 failed`);
    process.exitCode = 1;
  } finally {
    await browser?.close();
    dev.kill('SIGTERM');
    await ended;
    await rm(dir, { recursive: true, force: true });
  }
}
