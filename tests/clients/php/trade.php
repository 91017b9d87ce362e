<?php
// Receives one event from an exchange, prints its subject and body, and publishes a message of its own with a confirm.
error_reporting(E_ALL & ~E_DEPRECATED);
require_once 'PhpAmqpLib/autoload.php';

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Message\AMQPMessage;

[, $url, $exchange, $pattern, $key, $text] = $argv;
$parts = parse_url($url);
$connection = new AMQPStreamConnection($parts['host'], $parts['port'], $parts['user'], $parts['pass']);
$channel = $connection->channel();
[$queue] = $channel->queue_declare('', false, false, true, true);
$channel->queue_bind($queue, $exchange, $pattern);
$came = null;
$channel->basic_consume($queue, '', false, false, false, false, function (AMQPMessage $message) use (&$came) {
    $came = $message;
    $message->ack();
});
echo "ready\n";
while ($came === null) {
    $channel->wait(null, false, 30);
}
$channel->confirm_select();
$channel->basic_publish(new AMQPMessage($text, ['delivery_mode' => 2]), $exchange, $key);
$channel->wait_for_pending_acks(10);
echo json_encode(['subject' => $came->getRoutingKey(), 'body' => $came->getBody()]), "\n";
$connection->close();
