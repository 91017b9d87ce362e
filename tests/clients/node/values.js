// Publishes a message for each line of standard input: base64 of JSON with the headers, in amqplib's own notation.
const readline = require('readline');
const amqp = require('amqplib');

function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (value === null || typeof value !== 'object') return value;
  if ('bytes' in value) return Buffer.from(value.bytes, 'base64');
  if ('number' in value) return Number(value.number); // NaN and Infinity, which JSON does not have
  if ('!' in value) return {'!': value['!'], value: revived(value.value)};
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, revived(inner)]));
}

async function publish(url, exchange) {
  const connection = await amqp.connect(url);
  const channel = await connection.createConfirmChannel();
  for await (const line of readline.createInterface({input: process.stdin})) {
    const headers = revived(JSON.parse(Buffer.from(line, 'base64').toString()));
    channel.publish(exchange, 'values', Buffer.from('{}'), {headers});
  }
  await channel.waitForConfirms();
  await connection.close();
}

publish(process.argv[2], process.argv[3]).catch((error) => {
  console.error(error);
  process.exit(1);
});
