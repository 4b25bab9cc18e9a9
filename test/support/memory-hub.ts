import type { Hub, HubEvent } from '../../coordinator/hub.ts';
import type { Chunk, CoordinatorMessage, SiteMessage } from '../../shared/protocol/messages.ts';

/** The coordinator's connected sites, in memory: what is sent to each is kept, what one says reaches every listener at once. */
export interface MemoryHub extends Hub {
  readonly messages: (site: string) => readonly CoordinatorMessage[];
  readonly chunks: (site: string) => readonly Chunk[];
  readonly arrive: (site: string) => void;
  readonly say: (site: string, message: SiteMessage) => void;
  readonly chunk: (site: string, chunk: Chunk) => void;
  readonly leave: (site: string) => void;
  readonly listeners: () => number;
}

export function createMemoryHub(answer: (site: string, message: CoordinatorMessage) => void = () => undefined): MemoryHub {
  const connected = new Set<string>();
  const listeners = new Set<(event: HubEvent) => void>();
  const sent: { readonly site: string; readonly message: CoordinatorMessage }[] = [];
  const chunks: { readonly site: string; readonly chunk: Chunk }[] = [];
  const publish = (event: HubEvent): void => {
    for (const listener of [...listeners]) listener(event);
  };
  return {
    ready: () => connected,
    send: (site, message) => {
      if (!connected.has(site)) return;
      sent.push({ site, message });
      answer(site, message);
    },
    sendChunk: (site, chunk) => {
      if (connected.has(site)) chunks.push({ site, chunk });
    },
    subscribe: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    messages: (site) => sent.flatMap((one) => (one.site === site ? [one.message] : [])),
    chunks: (site) => chunks.flatMap((one) => (one.site === site ? [one.chunk] : [])),
    arrive: (site) => {
      connected.add(site);
      publish({ type: 'ready', site, ledgerLength: 0 });
    },
    say: (site, message) => {
      publish({ type: 'message', site, message });
    },
    chunk: (site, chunk) => {
      publish({ type: 'chunk', site, chunk });
    },
    leave: (site) => {
      connected.delete(site);
      publish({ type: 'closed', site });
    },
    listeners: () => listeners.size,
  };
}
