// The page: a bar that holds the token, and GraphiQL below it.
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { parse } from 'graphql';
import { createClient } from 'graphql-ws';
import { useEffect, useMemo, useState } from 'react';
import { createRoot } from 'react-dom/client';
import examples from 'examples';
import workers from 'workers';
import 'graphiql/style.css';
import './page.css';

globalThis.MonacoEnvironment = {
  getWorker: (_, label) => new Worker(workers[label] ?? workers.editor),
};

// The token, and all that GraphiQL remembers, lives as long as the browser's tab: variables may hold credentials.
const kept = sessionStorage;
const tokenKey = 'tieline:token';

// A link may bring the token behind its #, which no server and no log sees. It is taken off the address at once.
function tokenOfAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given !== null) {
    history.replaceState(null, '', location.pathname + location.search);
    kept.setItem(tokenKey, given.trim());
  }
  return kept.getItem(tokenKey) ?? '';
}

const endpoint = new URL(document.body.dataset.endpoint, location.href);
const sockets = new URL(endpoint);
sockets.protocol = endpoint.protocol === 'https:' ? 'wss:' : 'ws:';

async function whoIs(token) {
  const res = await fetch(endpoint, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', accept: 'application/graphql-response+json' },
    body: JSON.stringify({ query: '{ viewer { scopes organization { name } } }' }),
  });
  const { data, errors } = await res.json();
  if (errors) throw new Error(errors[0].message);
  return data.viewer;
}

// GraphiQL shows a subscription's last message. Below it are those that came before, newest first.
function withThoseBefore(messages) {
  const from = messages[Symbol.asyncIterator]();
  const before = [];
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const { done, value } = await from.next();
      if (done) return { done, value };
      const shown = before.length ? { ...value, before: [...before] } : value;
      before.unshift(value.data ?? value);
      before.length = Math.min(before.length, 100);
      return { done, value: shown };
    },
    return: (value) => from.return(value),
    throw: (error) => from.throw(error),
  };
}

// Right after another tab was chosen, GraphiQL still sends the name of the operation of the one before.
const whatIsShown = (fetcher) => async (params, opts) => {
  let document;
  try {
    document = parse(params.query);
  } catch {
    return fetcher(params, opts); // the server says what is wrong with it
  }
  const names = document.definitions.filter((d) => d.kind === 'OperationDefinition').map((d) => d.name?.value);
  const operationName = names.length === 1 ? names[0] : params.operationName;
  const sent = await fetcher({ ...params, operationName }, { ...opts, documentAST: document });
  return Symbol.asyncIterator in sent ? withThoseBefore(sent) : sent;
};

function Page() {
  const [token, setToken] = useState(tokenOfAddress);
  const [viewer, setViewer] = useState(null);
  const [problem, setProblem] = useState('');

  useEffect(() => {
    const took = () => setToken(tokenOfAddress());
    addEventListener('hashchange', took);
    return () => removeEventListener('hashchange', took);
  }, []);

  useEffect(() => {
    let current = true;
    setViewer(null);
    if (!token) return;
    setProblem('');
    whoIs(token).then(
      (v) => current && setViewer(v),
      (e) => {
        if (!current) return;
        kept.removeItem(tokenKey);
        setProblem(e.message);
        setToken('');
      },
    );
    return () => (current = false);
  }, [token]);

  const use = (value) => {
    kept.setItem(tokenKey, value);
    setToken(value);
  };
  const leave = () => {
    kept.removeItem(tokenKey);
    setProblem('');
    setToken('');
  };
  return (
    <>
      <header className="bar">
        <strong>Tieline</strong>
        {viewer && (
          <span className="viewer">
            {viewer.organization.name}
            {viewer.scopes.map((s) => (
              <em key={s}>{s.toLowerCase()}</em>
            ))}
            <button type="button" onClick={leave}>
              Another token
            </button>
          </span>
        )}
      </header>
      {viewer ? <Editor key={token} token={token} /> : token ? null : <Ask problem={problem} use={use} />}
    </>
  );
}

function Ask({ problem, use }) {
  const submit = (e) => {
    e.preventDefault();
    const value = new FormData(e.currentTarget).get('token').trim();
    if (value) use(value);
  };
  return (
    <form className="ask" onSubmit={submit}>
      <h1>An API token, please</h1>
      <p>
        <code>tieline dev</code> prints one, and a link that brings it along. On a server, <code>tieline token create</code> makes one. It is
        kept in this tab alone.
      </p>
      <input name="token" type="password" autoComplete="off" spellCheck={false} placeholder="tl_…" aria-label="API token" autoFocus />
      <button type="submit">Go on</button>
      {problem && <p role="alert">{problem}</p>}
    </form>
  );
}

function Editor({ token }) {
  const [client, fetcher] = useMemo(() => {
    const authorization = `Bearer ${token}`;
    const client = createClient({ url: sockets.href, connectionParams: { authorization } });
    return [client, whatIsShown(createGraphiQLFetcher({ url: endpoint.href, headers: { authorization }, wsClient: client }))];
  }, [token]);
  useEffect(() => () => client.dispose(), [client]);
  return (
    <GraphiQL fetcher={fetcher} storage={kept} defaultTabs={examples} defaultEditorToolsVisibility="variables" showPersistHeadersSettings={false}>
      <GraphiQL.Logo>
        <a href="/schema.graphql" target="_blank" rel="noreferrer">
          Schema
        </a>
      </GraphiQL.Logo>
    </GraphiQL>
  );
}

createRoot(document.getElementById('page')).render(<Page />);
