// Builds the page into dist: node build.mjs. Names hold a hash of what is in the file, which is stored compressed.
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const at = (...p) => join(here, ...p);
const prefix = '/graphiql/';
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  write: false,
  outdir: at('dist'),
  metafile: true,
  logLevel: 'warning',
  target: 'es2022',
  legalComments: 'none',
  entryNames: '[name]-[hash]',
  chunkNames: 'part-[hash]',
  assetNames: '[name]-[hash]',
  publicPath: prefix,
  loader: { '.ttf': 'file' },
  define: { 'process.env.NODE_ENV': '"production"' },
};

const { metafile, outputFiles: files } = await build({
  ...common,
  format: 'iife',
  entryPoints: {
    editor: 'monaco-editor/esm/vs/editor/editor.worker.js',
    json: 'monaco-editor/esm/vs/language/json/json.worker.js',
    graphql: 'monaco-graphql/esm/graphql.worker.js',
  },
});
const workers = Object.fromEntries(Object.keys(metafile.outputs).map((f) => [basename(f).replace(/-[^-]*$/, ''), prefix + basename(f)]));

const names = (await readdir(at('documents'))).sort();
const examples = await Promise.all(
  names
    .filter((n) => n.endsWith('.graphql'))
    .map(async (n) => {
      const vars = n.replace(/graphql$/, 'json');
      return {
        query: await readFile(at('documents', n), 'utf8'),
        variables: names.includes(vars) ? await readFile(at('documents', vars), 'utf8') : null,
      };
    }),
);

const values = { examples, workers };
const page = await build({
  ...common,
  format: 'esm',
  splitting: true,
  jsx: 'automatic',
  entryPoints: { main: 'page/main.jsx' },
  plugins: [
    {
      name: 'values',
      setup(b) {
        b.onResolve({ filter: /^(examples|workers)$/ }, ({ path }) => ({ path, namespace: 'values' }));
        b.onLoad({ filter: /.*/, namespace: 'values' }, ({ path }) => ({ contents: JSON.stringify(values[path]), loader: 'json' }));
      },
    },
  ],
});
files.push(...page.outputFiles);
const main = Object.entries(page.metafile.outputs).find(([, o]) => o.entryPoint === 'page/main.jsx');

for (const name of await readdir(at('dist'))) if (name !== '.keep') await rm(at('dist', name), { recursive: true });
await mkdir(at('dist'), { recursive: true });
const store = (name, text) => writeFile(at('dist', name + '.gz'), gzipSync(text, { level: 9 }));
for (const f of files) await store(basename(f.path), f.contents);
await store(
  'index.html',
  `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GraphiQL · Tieline</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${prefix}${basename(main[1].cssBundle)}">
<script type="module" src="${prefix}${basename(main[0])}"></script>
<body data-endpoint="/graphql">
<div id="page"></div>
`,
);
