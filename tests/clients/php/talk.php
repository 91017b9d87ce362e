<?php
// Declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error; says so at the end.
error_reporting(E_ALL & ~E_DEPRECATED);
require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;

function expect(bool $truth, string $what): void
{
    if (!$truth) {
        fwrite(STDERR, "not as expected: $what\n");
        exit(1);
    }
}

$connection = new AMQPStreamConnection('127.0.0.1', (int) $argv[1], 'guest', 'guest');
$channel = $connection->channel();
$channel->exchange_declare('events', 'topic', false, true, false);
[$queue] = $channel->queue_declare('', false, false, true, false);
$channel->queue_bind($queue, 'events', 'repo.#');
$confirmed = 0;
$channel->set_ack_handler(function () use (&$confirmed) {
    $confirmed++;
});
$channel->confirm_select();
for ($number = 0; $number < 20; $number++) {
    $channel->basic_publish(new AMQPMessage("$number", ['delivery_mode' => 2]), 'events', 'repo.sync');
}
$channel->wait_for_pending_acks(10);
expect($confirmed === 20, "confirms: $confirmed");
$seen = [];
$channel->basic_qos(0, 5, false);
$channel->basic_consume($queue, '', false, false, false, false, function (AMQPMessage $message) use (&$seen) {
    $seen[] = (int) $message->body;
    $message->ack();
});
while (count($seen) < 20) {
    $channel->wait(null, false, 10);
}
expect($seen === range(0, 19), 'order');
try {
    $connection->channel()->queue_declare('none', true);
    expect(false, 'a missing queue');
} catch (AMQPProtocolChannelException $error) {
    expect($error->amqp_reply_code === 404, 'the code of a missing queue');
}
$connection->close();
echo "all as expected\n";
