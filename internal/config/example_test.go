package config_test

import (
	"fmt"

	"tracklane/internal/config"
)

func ExampleLoad() {
	settings, err := config.Load([]string{"DATABASE_URL=postgres://localhost/tracklane", "QUEUE_WEIGHT_LIVE=9"})
	fmt.Println(settings.HTTPAddr, settings.Redis.Timeout, settings.Lanes["live"].Weight, err)

	_, err = config.Load([]string{"DATABASE_URL=postgres://localhost/tracklane", "WORKER_CONCURRENCY=none"})
	fmt.Println(err)
	// Output:
	// :8080 250ms 9 <nil>
	// WORKER_CONCURRENCY="none": must be a whole number from 1 to 1000
}
