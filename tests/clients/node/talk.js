// Declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error; says so at the end.
const assert = require('assert');
const amqp = require('amqplib');

async function talk(url) {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertExchange('events', 'topic', {durable: true});
  const {queue} = await channel.assertQueue('', {exclusive: true});
  await channel.bindQueue(queue, 'events', 'repo.#');
  for (let number = 0; number < 50; number += 1) {
    channel.publish('events', 'repo.sync', Buffer.from(String(number)), {persistent: true, headers: {number}});
  }
  await channel.waitForConfirms();
  await channel.prefetch(10);
  const seen = [];
  await new Promise((resolve) => channel.consume(queue, (message) => {
    seen.push(message.properties.headers.number);
    channel.ack(message);
    if (seen.length === 50) resolve();
  }));
  assert.deepStrictEqual(seen, [...Array(50).keys()]);

  const doomed = await connection.createChannel();
  const closed = new Promise((resolve) => doomed.on('error', resolve));
  await assert.rejects(doomed.checkQueue('none'), /NOT_FOUND/);
  assert.strictEqual((await closed).code, 404);
  await connection.close();
  console.log('all as expected');
}

talk(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
