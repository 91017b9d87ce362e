// Receives one event from an exchange, prints its subject and body, and publishes a message of its own with a confirm.
const amqp = require('amqplib');

async function trade(url, exchange, pattern, key, text) {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  const {queue} = await channel.assertQueue('', {exclusive: true});
  await channel.bindQueue(queue, exchange, pattern);
  const came = new Promise((resolve) => channel.consume(queue, resolve).then(() => console.log('ready')));
  const message = await came;
  channel.ack(message);
  channel.publish(exchange, key, Buffer.from(text), {persistent: true});
  await channel.waitForConfirms();
  console.log(JSON.stringify({subject: message.fields.routingKey, body: message.content.toString()}));
  await connection.close();
}

trade(...process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
