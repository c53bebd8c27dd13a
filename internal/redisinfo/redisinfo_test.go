package redisinfo

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const info = "# Server\r\nredis_version:7.0.15\r\nexecutable:/usr/bin/redis:7\r\nprocess_id:4711\r\n\r\n# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\n"

func TestParse(t *testing.T) {
	t.Parallel()
	assert.Equal(t, Fields{
		"redis_version": "7.0.15", "executable": "/usr/bin/redis:7", "process_id": "4711",
		"used_memory": "1048576", "used_memory_human": "1.00M",
	}, Parse(info))
	assert.Empty(t, Parse(""))
}

func TestFields_Int(t *testing.T) {
	t.Parallel()
	fields := Parse(info)
	number, err := fields.Int("used_memory")
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, number)
	_, err = fields.Int("used_memory_human")
	require.ErrorContains(t, err, "used_memory_human")
	_, err = fields.Int("maxmemory")
	require.ErrorContains(t, err, "maxmemory")
}

func TestFields_ReplicaOffsets(t *testing.T) {
	t.Parallel()
	fields := Fields{
		"connected_slaves":  "3",
		"slave0":            "ip=127.0.0.1,port=6380,state=online,offset=14,lag=1",
		"slave1":            "ip=127.0.0.1,port=6381,state=wait_bgsave,offset=0,lag=0",
		"slave12":           "ip=::1,port=6382,state=online,offset=9223372036854775807,lag=0",
		"slave13":           "ip=::1,port=6383,state=online,offset=,lag=0",
		"slave_repl_offset": "99",
		"slaveof":           "state=online,offset=5",
	}
	assert.ElementsMatch(t, []int64{14, math.MaxInt64}, fields.ReplicaOffsets())
	assert.Empty(t, Parse(info).ReplicaOffsets())
}
