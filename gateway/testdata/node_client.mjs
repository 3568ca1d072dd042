// A client of one of the libraries for Node.js.
//
//   node_client.mjs LIBRARY SERVICE DOMAIN USER PASSWORD [MECHANISM]
//
// It logs in, by one SASL mechanism where that is given, becomes available, answers each
// message with its text, approves each subscription, prints one JSON object for each event,
// does what the lines of its standard input say, and logs out when that ends. When it has
// lost its connection it makes a new one.
import { createInterface } from 'node:readline';

const [, , library, service, domain, username, password, mechanism] = process.argv;
const tell = (event, more = {}) => console.log(JSON.stringify({ Event: event, ...more }));
let leaving = false;

// upload puts a file into a slot, as any library leaves it to the program.
async function upload(put, headers, get) {
  const { status } = await fetch(put, { method: 'PUT', headers, body: 'hello' });
  tell('upload', { Body: `${status} ${await (await fetch(get)).text()}` });
}

const libraries = {
  async xmppjs() {
    globalThis.WebSocket ??= (await import('ws')).default; // before Node.js 22
    const { client, xml } = await import('@xmpp/client');
    const credentials = mechanism && ((authenticate) => authenticate({ username, password }, mechanism));
    const c = client({ service, domain, username, password, credentials });
    c.timeout = 20000; // a busy machine
    c.reconnect.delay = 0;
    c.on('error', (e) => (c.streamManagement.id ? 0 : tell('error', { Body: String(e) }))); // the cut is one
    c.on('offline', () => tell('offline'));
    c.on('online', async (address) => {
      await c.send(xml('presence'));
      tell('online', { JID: String(address) });
    });
    c.streamManagement.on('resumed', () => tell('resumed'));
    c.iqCallee.set('jabber:iq:roster', 'query', ({ element }) => {
      const item = element.getChild('item');
      const { jid, name, subscription, ask } = item.attrs;
      tell('roster', { JID: jid, Name: name, Subscription: subscription, Ask: ask, Groups: item.getChildren('group').map((g) => g.text()) });
      return true;
    });
    c.on('stanza', (s) => {
      const { type, from } = s.attrs;
      if (s.is('presence')) {
        if (type === 'subscribe') c.send(xml('presence', { to: from, type: 'subscribed' }));
        tell(type ?? 'available', { From: from, Show: s.getChildText('show') ?? '' });
      }
      const body = s.is('message') && s.getChildText('body');
      if (!body) return;
      tell('message', { Body: body, From: from });
      c.send(xml('message', { type: 'chat', to: from }, xml('body', {}, body)));
    });
    await c.start();
    return {
      stop() {
        c.reconnect.stop();
        return c.stop();
      },
      roster: async () => tell('items', { Items: (await c.iqCaller.get(xml('query', 'jabber:iq:roster'))).getChildren('item').length }),
      add: (jid) => c.iqCaller.set(xml('query', 'jabber:iq:roster', xml('item', { jid, name: 'Carol' }, xml('group', {}, 'Friends')))),
      subscribe: (jid) => c.send(xml('presence', { to: jid, type: 'subscribe' })),
      show: (show) => c.send(xml('presence', {}, xml('show', {}, show))),
      async archive(jid) {
        const field = (name, value) => xml('field', { var: name }, xml('value', {}, value));
        const bodies = [];
        const collect = (s) => {
          const m = s.getChild('result', 'urn:xmpp:mam:2')?.getChild('forwarded', 'urn:xmpp:forward:0')?.getChild('message');
          if (m) bodies.push(m.getChildText('body'));
        };
        c.on('stanza', collect);
        await c.iqCaller.set(xml('query', 'urn:xmpp:mam:2', xml('x', { xmlns: 'jabber:x:data', type: 'submit' },
          field('FORM_TYPE', 'urn:xmpp:mam:2'), field('with', jid))));
        c.removeListener('stanza', collect);
        tell('archive', { Body: bodies.join(', ') });
      },
      async upload() {
        const slot = await c.iqCaller.request(xml('iq', { type: 'get', to: domain },
          xml('request', { xmlns: 'urn:xmpp:http:upload:0', filename: 'a b.txt', size: '5', 'content-type': 'text/plain' })));
        const put = slot.getChild('slot').getChild('put');
        const headers = put.getChildren('header').map((h) => [h.attrs.name, h.text()]);
        await upload(put.attrs.url, [...headers, ['Content-Type', 'text/plain']], slot.getChild('slot').getChild('get').attrs.url);
      },
    };
  },

  async strophe() {
    const { Strophe, $pres, $msg, $iq } = await import('strophe.js');
    const mechanisms = { PLAIN: Strophe.SASLPlain, 'SCRAM-SHA-1': Strophe.SASLSHA1, 'SCRAM-SHA-256': Strophe.SASLSHA256 };
    const c = new Strophe.Connection(service, { enableStreamManagement: true, mechanisms: mechanism && [mechanisms[mechanism]] });
    const text = (e, name) => e.getElementsByTagName(name)[0]?.textContent ?? '';
    const all = (e, name) => Array.from(e.getElementsByTagName(name));
    const handle = () => {
      c.addHandler((m) => {
        const body = m.getElementsByTagName('result').length ? '' : text(m, 'body');
        if (!body) return true;
        tell('message', { Body: body, From: m.getAttribute('from') });
        c.send($msg({ type: 'chat', to: m.getAttribute('from') }).c('body').t(body));
        return true;
      }, null, 'message');
      c.addHandler((p) => {
        const from = p.getAttribute('from');
        const type = p.getAttribute('type');
        if (type === 'subscribe') c.send($pres({ to: from, type: 'subscribed' }));
        tell(type ?? 'available', { From: from, Show: text(p, 'show') });
        return true;
      }, null, 'presence');
      c.addHandler((iq) => {
        const item = iq.getElementsByTagName('item')[0];
        const attr = (name) => item.getAttribute(name) ?? undefined;
        tell('roster', { JID: attr('jid'), Name: attr('name'), Subscription: attr('subscription'), Ask: attr('ask'), Groups: all(item, 'group').map((g) => g.textContent) });
        c.send($iq({ type: 'result', id: iq.getAttribute('id') }));
        return true;
      }, 'jabber:iq:roster', 'iq', 'set');
    };
    const connect = () => c.connect(`${username}@${domain}`, password, (status, why) => {
      if (status === Strophe.Status.CONNECTED && c.hasResumed()) {
        handle();
        tell('resumed');
      } else if (status === Strophe.Status.CONNECTED) {
        handle();
        c.send($pres());
        tell('online', { JID: c.jid });
      } else if (status === Strophe.Status.DISCONNECTED && leaving) {
        tell('offline');
      } else if (status === Strophe.Status.DISCONNECTED) {
        setTimeout(connect); // it has not yet forgotten the old connection
      } else if ([Strophe.Status.CONNFAIL, Strophe.Status.AUTHFAIL, Strophe.Status.ERROR].includes(status)) {
        tell('error', { Body: `${status} ${why}` });
      }
    });
    connect();
    const ask = (iq) => new Promise((resolve, reject) => c.sendIQ(iq, resolve, reject));
    return {
      stop: () => c.disconnect(),
      roster: async () => tell('items', { Items: all(await ask($iq({ type: 'get' }).c('query', { xmlns: 'jabber:iq:roster' })), 'item').length }),
      add: (jid) => ask($iq({ type: 'set' }).c('query', { xmlns: 'jabber:iq:roster' }).c('item', { jid, name: 'Carol' }).c('group').t('Friends')),
      subscribe: (to) => c.send($pres({ to, type: 'subscribe' })),
      show: (show) => c.send($pres().c('show').t(show)),
      async archive(jid) {
        const bodies = [];
        const collector = c.addHandler((m) => {
          if (m.getElementsByTagName('result').length) bodies.push(text(m, 'body'));
          return true;
        }, null, 'message');
        const query = $iq({ type: 'set' }).c('query', { xmlns: 'urn:xmpp:mam:2' }).c('x', { xmlns: 'jabber:x:data', type: 'submit' });
        for (const [name, value] of [['FORM_TYPE', 'urn:xmpp:mam:2'], ['with', jid]]) {
          query.c('field', { var: name }).c('value').t(value).up().up();
        }
        await ask(query);
        c.deleteHandler(collector);
        tell('archive', { Body: bodies.join(', ') });
      },
      async upload() {
        const slot = await ask($iq({ type: 'get', to: domain })
          .c('request', { xmlns: 'urn:xmpp:http:upload:0', filename: 'a b.txt', size: '5', 'content-type': 'text/plain' }));
        const url = (name) => slot.getElementsByTagName(name)[0].getAttribute('url');
        const headers = all(slot, 'header').map((h) => [h.getAttribute('name'), h.textContent]);
        await upload(url('put'), [...headers, ['Content-Type', 'text/plain']], url('get'));
      },
    };
  },

  async stanza() {
    const { createClient } = (await import('stanza')).default;
    const c = createClient({
      jid: `${username}@${domain}`, password, transports: { websocket: service, bosh: false }, autoReconnect: false,
    });
    for (const { name } of mechanism ? c.sasl.mechanisms : []) {
      if (name !== mechanism) c.sasl.disable(name);
    }
    c.on('session:started', () => {
      c.sendPresence();
      tell('online', { JID: c.jid });
    });
    c.on('stream:management:resumed', () => tell('resumed'));
    c.on('auth:failed', () => tell('error', { Body: 'auth' }));
    c.on('stream:error', (e) => tell('error', { Body: JSON.stringify(e) }));
    c.on('disconnected', () => (leaving ? tell('offline') : c.connect()));
    c.on('subscribe', (p) => c.acceptSubscription(p.from));
    c.on('presence', (p) => tell(p.type ?? 'available', { From: p.from, Show: p.show ?? '' }));
    c.on('roster:update', ({ roster: { items: [item] } }) => tell('roster', {
      JID: item.jid, Name: item.name, Subscription: item.subscription, Ask: item.pending, Groups: item.groups,
    }));
    c.on('message', (m) => {
      if (!m.body) return;
      tell('message', { Body: m.body, From: m.from });
      c.sendMessage({ to: m.from, type: 'chat', body: m.body });
    });
    c.connect();
    return {
      stop: () => c.disconnect(),
      roster: async () => tell('items', { Items: (await c.getRoster()).items.length }),
      add: (jid) => c.updateRosterItem({ jid, name: 'Carol', groups: ['Friends'] }),
      subscribe: (jid) => c.subscribe(jid),
      show: (show) => c.sendPresence({ show }),
      async archive(jid) {
        const { results } = await c.searchHistory({ with: jid });
        tell('archive', { Body: results.map((r) => r.item.message.body).join(', ') });
      },
      async upload() {
        const service = await c.getUploadService();
        const slot = await c.getUploadSlot(service.jid, { name: 'a b.txt', size: 5, mediaType: 'text/plain' });
        const headers = slot.upload.headers.map((h) => [h.name, h.value]);
        await upload(slot.upload.url, [...headers, ['Content-Type', 'text/plain']], slot.download);
      },
    };
  },
};

const running = await libraries[library]();
createInterface({ input: process.stdin })
  .on('line', async (line) => {
    const [verb, ...words] = line.split(' ');
    try {
      await running[verb](...words);
    } catch (e) {
      tell('error', { Body: `${line}: ${e} ${JSON.stringify(e)}` });
    }
  })
  .on('close', async () => {
    leaving = true;
    await running.stop();
    setTimeout(() => process.exit(0), 2000).unref();
  });
