// Follows runs with the stock client, graphql-ws, without gap or repeat. The client comes back by itself when the line is
// cut, and then sends its first variables again; so `after` is not a value but the last cursor, read whenever it subscribes.
import type { Client } from 'graphql-ws';

const resumable = new Set<unknown>(['SLOW_SUBSCRIBER', 'UNAVAILABLE']);

/**
 * Calls `each` with every message of a document that takes $after and selects runUpdates with its cursor. It begins after
 * a cursor, null for from now on. It is settled when coming back is no use: the token is refused, the cursor expired.
 */
export function follow<Update extends { cursor: string }>(
  client: Client, query: string, variables: Record<string, unknown>, after: string | null, each: (update: Update) => void,
): Promise<void> {
  return new Promise((done, fail) => {
    const subscribe = () => {
      let end: readonly { extensions?: Record<string, unknown> }[] | undefined;
      client.subscribe<{ runUpdates: Update }>({ query, variables: { ...variables, get after() { return after; } } }, {
        next({ data, errors }) {
          if (errors || !data) {
            end = errors ?? [];
            return;
          }
          after = data.runUpdates.cursor;
          each(data.runUpdates);
        },
        error: fail,
        complete: () => (!end ? done() : end.some((e) => resumable.has(e.extensions?.code)) ? subscribe() : fail(end)),
      });
    };
    subscribe();
  });
}
