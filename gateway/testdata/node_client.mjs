// A client of one of the libraries for Node.js. It logs in, becomes available, answers
// each message with its text, prints one JSON object for each event, and logs out when
// its standard input ends.
import { createInterface } from 'node:readline';

const [, , library, service, domain, username, password] = process.argv;
const tell = (event, more = {}) => console.log(JSON.stringify({ Event: event, ...more }));

const libraries = {
  async xmppjs() {
    globalThis.WebSocket ??= (await import('ws')).default; // before Node.js 22
    const { client, xml } = await import('@xmpp/client');
    const c = client({ service, domain, username, password });
    c.timeout = 20000; // a busy machine
    c.on('error', (e) => tell('error', { Body: String(e) }));
    c.on('offline', () => tell('offline'));
    c.on('online', async (address) => {
      await c.send(xml('presence'));
      tell('online', { JID: String(address), Features: c.streamManagement?.enabled ? ['sm'] : [] });
    });
    c.streamManagement?.on?.('resumed', () => tell('resumed'));
    c.on('stanza', (s) => {
      const body = s.is('message') && s.getChildText('body');
      if (!body) return;
      tell('message', { Body: body, From: s.attrs.from });
      c.send(xml('message', { type: 'chat', to: s.attrs.from }, xml('body', {}, body)));
    });
    await c.start();
    return { stop: () => c.stop(), cut: () => c.socket.end() };
  },

  async strophe() {
    const { Strophe, $pres, $msg } = await import('strophe.js');
    const c = new Strophe.Connection(service);
    c.addHandler((m) => {
      const body = m.getElementsByTagName('body')[0]?.textContent;
      if (!body) return true;
      tell('message', { Body: body, From: m.getAttribute('from') });
      c.send($msg({ type: 'chat', to: m.getAttribute('from') }).c('body').t(body));
      return true;
    }, null, 'message');
    c.connect(`${username}@${domain}`, password, (status, why) => {
      if (status === Strophe.Status.CONNECTED) {
        c.send($pres());
        tell('online', { JID: c.jid });
      } else if (status === Strophe.Status.DISCONNECTED) {
        tell('offline');
      } else if ([Strophe.Status.CONNFAIL, Strophe.Status.AUTHFAIL, Strophe.Status.ERROR].includes(status)) {
        tell('error', { Body: `${status} ${why}` });
      }
    });
    return { stop: () => c.disconnect() };
  },

  async stanza() {
    const { createClient } = (await import('stanza')).default;
    const c = createClient({
      jid: `${username}@${domain}`, password, transports: { websocket: service, bosh: false }, autoReconnect: false,
    });
    c.on('session:started', () => {
      c.sendPresence();
      tell('online', { JID: c.jid, Features: c.sm?.started ? ['sm'] : [] });
    });
    c.on('auth:failed', () => tell('error', { Body: 'auth' }));
    c.on('stream:error', (e) => tell('error', { Body: JSON.stringify(e) }));
    c.on('disconnected', () => tell('offline'));
    c.on('message', (m) => {
      if (!m.body) return;
      tell('message', { Body: m.body, From: m.from });
      c.sendMessage({ to: m.from, type: 'chat', body: m.body });
    });
    c.connect();
    return { stop: () => c.disconnect() };
  },
};

const running = await libraries[library]();
createInterface({ input: process.stdin })
  .on('line', (line) => running[line]?.())
  .on('close', async () => {
    await running.stop();
    setTimeout(() => process.exit(0), 2000).unref();
  });
