package clock

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name     string
		ctx      context.Context
		duration time.Duration
		want     bool
	}{
		{"waits to the end", t.Context(), time.Millisecond, true},
		{"does not wait for what has passed", t.Context(), -time.Hour, true},
		{"ends with its context", done, time.Hour, false},
		{"does not start when the context is done", done, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, c.want, Sleep(c.ctx, c.duration))
		})
	}
}
