# Declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error; says so at the end.
require 'bunny'

def expect(truth, what)
  abort "not as expected: #{what}" unless truth
end

connection = Bunny.new(ARGV[0]).start
channel = connection.create_channel
exchange = channel.topic('events', durable: true)
queue = channel.queue('', exclusive: true).bind(exchange, routing_key: 'repo.#')
channel.confirm_select
50.times { |number| exchange.publish(number.to_s, routing_key: 'repo.sync', persistent: true) }
expect(channel.wait_for_confirms, 'confirms')
channel.prefetch(10)
seen = Queue.new
queue.subscribe(manual_ack: true) do |delivery, _properties, body|
  seen << body.to_i
  channel.ack(delivery.delivery_tag)
end
expect(Array.new(50) { seen.pop } == (0...50).to_a, 'the order')
begin
  connection.create_channel.queue_declare('none', passive: true)
  expect(false, 'a missing queue')
rescue Bunny::NotFound => error
  expect(error.channel_close.reply_code == 404, 'the code of a missing queue')
end
connection.close
puts 'all as expected'
