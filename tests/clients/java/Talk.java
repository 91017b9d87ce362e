// Declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error; says so at the end.
import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.MessageProperties;
import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

public class Talk {
    static void expect(boolean truth, String what) {
        if (!truth) {
            throw new IllegalStateException("not as expected: " + what);
        }
    }

    public static void main(String[] arguments) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setUri(arguments[0]);
        Connection connection = factory.newConnection();
        Channel channel = connection.createChannel();
        channel.exchangeDeclare("events", "topic", true);
        String queue = channel.queueDeclare().getQueue();
        channel.queueBind(queue, "events", "repo.#");
        channel.confirmSelect();
        for (int number = 0; number < 50; number++) {
            byte[] body = Integer.toString(number).getBytes();
            channel.basicPublish("events", "repo.sync", MessageProperties.PERSISTENT_BASIC, body);
        }
        channel.waitForConfirmsOrDie(10_000);
        channel.basicQos(10);
        BlockingQueue<String> seen = new LinkedBlockingQueue<>();
        channel.basicConsume(queue, false, new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body)
                    throws IOException {
                seen.add(new String(body));
                getChannel().basicAck(envelope.getDeliveryTag(), false);
            }
        });
        for (int number = 0; number < 50; number++) {
            expect(Integer.toString(number).equals(seen.poll(10, TimeUnit.SECONDS)), "the order");
        }
        try {
            connection.createChannel().queueDeclarePassive("none");
            expect(false, "a missing queue");
        } catch (IOException error) {
            expect(error.getCause().getMessage().contains("reply-code=404"), "the code of a missing queue");
        }
        connection.close();
        System.out.println("all as expected");
    }
}
