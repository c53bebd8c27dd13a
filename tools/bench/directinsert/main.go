// Command directinsert is the least that takes points over HTTP and keeps each of
// them once: it inserts the points of a request into the lane's table and
// responds when they are committed. There is no queue and no second try. It is
// what an engineer writes first, and what the benchmark compares tracklane with.
//
//	directinsert --address 127.0.0.1:8080 --database postgres://…
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const maxBody = 64 << 20

// flight is the body of a request to /live or /upload.
type flight struct {
	ID     string  `json:"flight_id"`
	Device *string `json:"device_id"`
	Pilot  *string `json:"pilot_id"`
	Race   *string `json:"race_id"`
	Points []struct {
		Time               time.Time `json:"datetime"`
		Lat                float64   `json:"lat"`
		Lon                float64   `json:"lon"`
		Elevation          *float64  `json:"elevation"`
		BarometricAltitude *float64  `json:"barometric_altitude"`
		Speed              *float64  `json:"speed"`
		Heading            *float64  `json:"heading"`
	} `json:"track_points"`
}

func main() {
	address := flag.String("address", "127.0.0.1:8080", "listen address")
	database := flag.String("database", "", "URL of the database")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *address, *database); err != nil {
		fmt.Fprintln(os.Stderr, "directinsert:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, address, database string) error {
	pool, err := pgxpool.New(ctx, database)
	if err != nil {
		return fmt.Errorf("connect to the database: %w", err)
	}
	defer pool.Close()
	routes := http.NewServeMux()
	routes.Handle("POST /live", insertInto(pool, "live_track_points"))
	routes.Handle("POST /upload", insertInto(pool, "uploaded_track_points"))
	server := &http.Server{Addr: address, Handler: routes, ReadHeaderTimeout: time.Second}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// insertInto handles requests whose points go into a table.
func insertInto(pool *pgxpool.Pool, table string) http.Handler {
	statement := `INSERT INTO ` + table + ` (flight_id, device_id, pilot_id, race_id, received_at,
			datetime, lat, lon, elevation, barometric_altitude, speed, heading)
		SELECT $1, $2, $3, $4, now(), * FROM unnest($5::timestamptz[], $6::float8[], $7::float8[], $8::float8[],
			$9::float8[], $10::float8[], $11::float8[])
		ON CONFLICT DO NOTHING`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var f flight
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n := len(f.Points)
		times, lats, lons := make([]time.Time, n), make([]float64, n), make([]float64, n)
		elevations, pressures := make([]*float64, n), make([]*float64, n)
		speeds, headings := make([]*float64, n), make([]*float64, n)
		for i, p := range f.Points {
			times[i], lats[i], lons[i], elevations[i] = p.Time, p.Lat, p.Lon, p.Elevation
			pressures[i], speeds[i], headings[i] = p.BarometricAltitude, p.Speed, p.Heading
		}
		result, err := pool.Exec(r.Context(), statement, f.ID, f.Device, f.Pilot, f.Race,
			times, lats, lons, elevations, pressures, speeds, headings)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"points":%d,"inserted":%d}`, n, result.RowsAffected())
	})
}
