// Subscribes by a topic filter, sends until everything is accepted, asks a question, and runs into an error; says so at the end.
const assert = require('assert');
const rhea = require('rhea');

const COUNT = 300;

function once(emitter, name) {
  return new Promise((resolve) => emitter.once(name, resolve));
}

async function subscribe(connection) {
  const seen = [];
  const source = {address: 'amq.topic', filter: pattern('repo.*.finish')};
  const receiver = connection.open_receiver({source, credit_window: 10});
  await once(receiver, 'receiver_open');
  const all = new Promise((resolve) => {
    receiver.on('message', (context) => {
      seen.push(context.message.application_properties.number);
      if (seen.length === COUNT) resolve(seen);
    });
  });
  return {all};
}

function pattern(text) {
  const value = rhea.types.wrap_described(text, rhea.types.wrap_symbol('apache.org:legacy-amqp-topic-binding:string'));
  return {pattern: value};
}

async function publish(connection) {
  const sender = connection.open_sender('/exchanges/amq.topic');
  let sent = 0;
  let accepted = 0;
  await new Promise((resolve, reject) => {
    sender.on('sendable', () => {
      while (sender.sendable() && sent < COUNT) {
        sender.send({subject: 'repo.sync.finish', durable: true, body: `${sent}`, application_properties: {number: sent}});
        sent += 1;
      }
    });
    sender.on('released', () => reject(new Error('released')));
    sender.on('accepted', () => {
      accepted += 1;
      if (accepted === COUNT) resolve();
    });
  });
}

async function ask(connection) {
  const questions = connection.open_receiver('/queue/rhea-questions');
  const answers = connection.open_sender({target: {}});
  questions.on('message', (context) => {
    const {reply_to: to, correlation_id: id, body} = context.message;
    answers.send({to, correlation_id: id, body: {answer: body.toUpperCase(), list: [1, 2.5, null, true]}});
  });
  const replies = connection.open_receiver({source: {dynamic: true}});
  await once(replies, 'receiver_open');
  const asker = connection.open_sender('/queue/rhea-questions');
  await once(asker, 'sendable');
  asker.send({reply_to: replies.source.address, correlation_id: 7, body: 'hello'});
  const {message} = await once(replies, 'message');
  assert.strictEqual(message.correlation_id, 7);
  assert.deepStrictEqual(message.body, {answer: 'HELLO', list: [1, 2.5, null, true]});
}

async function refused(connection) {
  const sender = connection.open_sender('/exchanges/none');
  const {sender: failed} = await once(sender, 'sender_error');
  assert.strictEqual(failed.error.condition, 'amqp:not-found');
}

async function talk(port) {
  const container = rhea.create_container();
  const connection = container.connect({port, host: '127.0.0.1', username: 'guest', password: 'guest', reconnect: false});
  await once(connection, 'connection_open');
  const seen = await subscribe(connection);
  await publish(connection);
  assert.deepStrictEqual(await seen.all, [...Array(COUNT).keys()]);
  await ask(connection);
  await refused(connection);
  connection.close();
  await once(connection, 'connection_close');
  console.log('all as expected');
}

talk(Number(process.argv[2])).catch((error) => {
  console.error(error);
  process.exit(1);
});
