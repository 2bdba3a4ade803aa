// One connection of the protocol graphql-transport-ws
// (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md). It does not reconnect: live.js does.

const PROTOCOL = 'graphql-transport-ws';
const PING_EVERY = 15_000;
const PATIENCE = 10_000;

/**
 * @typedef {object} Listener Of one subscription.
 * @property {(data: any) => void} next
 * @property {(errors: any[]) => void} error the daemon refused it
 */

export class Socket {
  /**
   * @param {string} address
   * @param {(code: number, reason: string) => void} onClose told once, however it ends
   */
  constructor(address, onClose) {
    this.onClose = onClose;
    /** @type {Map<string, Listener>} */
    this.listeners = new Map();
    this.ids = 0;
    this.closed = false;
    this.ready = new Promise((resolve) => {
      this.acknowledge = resolve;
    });
    this.ws = new WebSocket(address, PROTOCOL);
    this.ws.onopen = () => this.send({ type: 'connection_init' });
    this.ws.onmessage = (event) => this.receive(event.data);
    this.ws.onclose = (event) => this.end(event.code, event.reason);
    // A connection may hang half open; whoever does not answer in time is gone.
    this.deadline = setTimeout(() => this.end(4408, 'no answer'), PATIENCE);
    this.pinging = setInterval(() => this.ping(), PING_EVERY);
  }

  /**
   * Subscribe; answers how to stop.
   * @param {string} query
   * @param {Record<string, any>} variables
   * @param {Listener} listener
   * @returns {() => void}
   */
  subscribe(query, variables, listener) {
    const id = String(++this.ids);
    this.listeners.set(id, listener);
    this.ready.then(() => {
      if (this.listeners.has(id)) this.send({ id, type: 'subscribe', payload: { query, variables } });
    });
    return () => {
      if (this.listeners.delete(id)) this.send({ id, type: 'complete' });
    };
  }

  /** Hang up, and tell nobody. */
  close() {
    this.onClose = () => {};
    this.end(1000, '');
  }

  ping() {
    if (this.ws.readyState !== WebSocket.OPEN) return;
    this.send({ type: 'ping' });
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => this.end(4408, 'no answer'), PATIENCE);
  }

  /** @param {any} message */
  send(message) {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(message));
  }

  /** @param {string} text */
  receive(text) {
    clearTimeout(this.deadline);
    const message = JSON.parse(text);
    const listener = this.listeners.get(message.id);
    switch (message.type) {
      case 'connection_ack':
        this.acknowledge?.(undefined);
        break;
      case 'ping':
        this.send({ type: 'pong' });
        break;
      case 'next':
        if (message.payload.data) listener?.next(message.payload.data);
        else listener?.error(message.payload.errors ?? []);
        break;
      case 'error':
        this.listeners.delete(message.id);
        listener?.error(message.payload);
        break;
      case 'complete':
        this.listeners.delete(message.id);
        break;
    }
  }

  /** @param {number} code @param {string} reason */
  end(code, reason) {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.deadline);
    clearInterval(this.pinging);
    this.listeners.clear();
    this.ws.onclose = this.ws.onmessage = this.ws.onopen = null;
    this.ws.close();
    this.onClose(code, reason);
  }
}
