import type { Chunk, CoordinatorMessage, SiteMessage } from '../shared/protocol/messages.ts';

/** What a site in the study says to the coordinator, after its session is open and its key is known to be enrolled. */
export type HubEvent =
  | { readonly type: 'ready'; readonly site: string; readonly ledgerLength: number }
  | { readonly type: 'message'; readonly site: string; readonly message: SiteMessage }
  | { readonly type: 'chunk'; readonly site: string; readonly chunk: Chunk }
  | { readonly type: 'closed'; readonly site: string };

/** The connected sites, whatever carries the bytes (the socket.io adapter is `server.ts`). */
export interface Hub {
  readonly ready: () => ReadonlySet<string>;
  /** Dropped when the site is not connected: it asks again on its return. */
  readonly send: (site: string, message: CoordinatorMessage) => void;
  readonly sendChunk: (site: string, chunk: Chunk) => void;
  readonly subscribe: (listener: (event: HubEvent) => void) => () => void;
}
