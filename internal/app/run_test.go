package app

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRun_EndsWithTheFirstErrorOfItsParts(t *testing.T) {
	t.Parallel()
	r := newRun(t.Context())
	assert.NoError(t, r.failure(), "an orderly stop")

	first, second := errors.New("first"), errors.New("second")
	r.fail(first)
	r.fail(second)
	<-r.ctx.Done()
	assert.NoError(t, r.background.Err(), "requests in flight go on")
	assert.Equal(t, first, r.failure())
	r.stopBackground()
}
