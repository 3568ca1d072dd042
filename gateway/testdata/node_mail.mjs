// A client of @xmpp/client that writes to a mail address. It logs in, has the texts that
// each line of its standard input gives as {"to", "texts"} typed, as a client does it for a
// person who makes breaks, corrects himself and looks elsewhere, and logs out when that ends.
import { createInterface } from 'node:readline';
import { client, xml } from '@xmpp/client';

const [, , , service, domain, username, password] = process.argv;
const tell = (event, more = {}) => console.log(JSON.stringify({ Event: event, ...more }));

const c = client({ service, domain, username, password });
c.timeout = 60000; // a busy machine
c.on('error', (e) => tell('error', { Body: String(e) }));
c.on('offline', () => tell('offline'));
await c.start();
await c.send(xml('presence'));
tell('online', { JID: String(c.jid) });

let id = 0;
const message = (to, ...children) => c.send(xml('message', { to, type: 'chat', id: `x${++id}` }, ...children));
const state = (name) => xml(name, { xmlns: 'http://jabber.org/protocol/chatstates' });

async function type(to, text) {
  const thread = () => xml('thread', {}, 'e0ffe42b28561960c6b12b944a092794');
  await message(to, state('composing'), thread());
  await message(to, state('paused'), xml('no-store', { xmlns: 'urn:xmpp:hints' }));
  await message(to, state('composing'), xml('body'));
  await message(to, xml('body', {}, text), state('active'), thread(), xml('request', { xmlns: 'urn:xmpp:receipts' }),
    xml('origin-id', { xmlns: 'urn:xmpp:sid:0', id: `o${id}` }), xml('markable', { xmlns: 'urn:xmpp:chat-markers:0' }));
  const written = `x${id}`;
  await message(to, xml('received', { xmlns: 'urn:xmpp:receipts', id: written }));
  await message(to, xml('displayed', { xmlns: 'urn:xmpp:chat-markers:0', id: written }));
  await message(to, state('composing'), xml('origin-id', { xmlns: 'urn:xmpp:sid:0', id: `o${id}` }));
  await message(to, xml('body', {}, `${text}, corrected`), state('active'), thread(), xml('replace', { xmlns: 'urn:xmpp:message-correct:0', id: written }));
  await message(to, state('inactive'));
  await message(to, state('gone'), thread());
}

let work = Promise.resolve();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { to, texts } = JSON.parse(line);
    for (const text of texts) work = work.then(() => type(to, text));
  })
  .on('close', async () => {
    await work;
    await c.stop();
    setTimeout(() => process.exit(0), 2000).unref();
  });
