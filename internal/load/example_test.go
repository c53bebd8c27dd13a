package load_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"tracklane/internal/load"
)

// Five hundred points for a server on this machine, ten in each request. With
// Verify and DatabaseURL, Run would then look for each of them in the database.
func ExampleRun() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()

	report, err := load.Run(context.Background(), load.Options{
		URL: server.URL, Lane: "live", PointsPerRequest: 10, Requests: 50, Connections: 4,
	}, io.Discard)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d requests, %d points acknowledged\n", report.Requests, report.AcknowledgedPoints)
	fmt.Printf("%d responses with status 202\n", report.Responses[http.StatusAccepted])
	// Output:
	// 50 requests, 500 points acknowledged
	// 50 responses with status 202
}
