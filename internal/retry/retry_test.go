package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestPolicy_WaitsTwiceAsLongEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start, failure := time.Now(), errors.New("not now")
		var at []time.Duration
		err := Policy{Attempts: 8}.Do(t.Context(), func(err error) bool { return errors.Is(err, failure) }, func() (time.Duration, error) {
			at = append(at, time.Since(start))
			if len(at) == 2 {
				return time.Minute, failure // as the server says
			}
			return time.Millisecond, failure
		})
		assert.Equal(t, failure, err)
		assert.Equal(t, []time.Duration{0, 1e9, 61e9, 65e9, 73e9, 89e9, 119e9, 149e9}, at)
	})
}

func TestPolicy_EndsWithWhatDoesNotPassAndWithItsContext(t *testing.T) {
	t.Parallel()
	calls, failure := 0, errors.New("never")
	fail := func() (time.Duration, error) {
		calls++
		return 0, failure
	}
	assert.Equal(t, failure, Policy{Attempts: 5}.Do(t.Context(), func(error) bool { return false }, fail))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, failure, Policy{Attempts: 5}.Do(ended, func(error) bool { return true }, fail))
	assert.Equal(t, 2, calls)
}
