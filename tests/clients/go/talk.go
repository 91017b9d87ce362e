// Declares, binds, publishes with confirms, consumes, acknowledges, and runs into an error; says so at the end.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	connection, err := amqp.Dial(os.Args[1])
	must(err)
	channel, err := connection.Channel()
	must(err)
	must(channel.ExchangeDeclare("events", "topic", true, false, false, false, nil))
	queue, err := channel.QueueDeclare("", false, false, true, false, nil)
	must(err)
	must(channel.QueueBind(queue.Name, "repo.#", "events", false, nil))
	must(channel.Confirm(false))
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, 50))
	for number := 0; number < 50; number++ {
		message := amqp.Publishing{Body: []byte(strconv.Itoa(number)), DeliveryMode: amqp.Persistent}
		must(channel.Publish("events", "repo.sync", false, false, message))
	}
	for number := 0; number < 50; number++ {
		if confirm := <-confirms; !confirm.Ack {
			log.Fatalf("publish %d was refused", confirm.DeliveryTag)
		}
	}
	must(channel.Qos(10, 0, false))
	deliveries, err := channel.Consume(queue.Name, "", false, false, false, false, nil)
	must(err)
	for number := 0; number < 50; number++ {
		delivery := <-deliveries
		if string(delivery.Body) != strconv.Itoa(number) {
			log.Fatalf("got %s instead of %d", delivery.Body, number)
		}
		must(delivery.Ack(false))
	}
	doomed, err := connection.Channel()
	must(err)
	_, err = doomed.QueueDeclarePassive("none", false, false, false, false, nil)
	var refusal *amqp.Error
	if !errors.As(err, &refusal) || refusal.Code != amqp.NotFound {
		log.Fatalf("a missing queue gave %v", err)
	}
	must(connection.Close())
	fmt.Println("all as expected")
}
