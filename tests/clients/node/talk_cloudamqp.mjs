// @cloudamqp/amqp-client: declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error.
import assert from 'assert';
import {AMQPClient} from '@cloudamqp/amqp-client';

async function talk(url) {
  const connection = await new AMQPClient(url.replace('%2F', '')).connect();
  const channel = await connection.channel();
  await channel.exchangeDeclare('events', 'topic', {durable: true});
  const queue = await channel.queueDeclare('', {exclusive: true});
  await channel.queueBind(queue.name, 'events', 'repo.#');
  await channel.confirmSelect();
  const headers = {
    text: 'é', number: 2 ** 40, fraction: 1.75, truth: true, nothing: null, list: [1, 'two', [3]], table: {a: {b: 'c'}},
    moment: new Date(1700000000000),
  };
  for (let number = 0; number < 50; number += 1) {
    await channel.basicPublish('events', 'repo.sync', String(number), {deliveryMode: 2, headers});
  }
  await channel.prefetch(10);
  const seen = [];
  await new Promise((resolve) => channel.basicConsume(queue.name, {noAck: false}, async (message) => {
    assert.deepStrictEqual(message.properties.headers, headers);
    seen.push(Number(message.bodyToString()));
    await message.ack();
    if (seen.length === 50) resolve();
  }));
  assert.deepStrictEqual(seen, [...Array(50).keys()]);
  const large = 'x'.repeat(1_000_000);
  await channel.basicPublish('', queue.name, large);
  const doomed = await connection.channel();
  await assert.rejects(doomed.queueDeclare('none', {passive: true}), /NOT_FOUND|404/);
  const other = await connection.channel();
  assert.strictEqual((await other.queueDeclare(queue.name, {passive: true})).name, queue.name);
  await connection.close();
  console.log('all as expected');
}

talk(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
