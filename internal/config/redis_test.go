package config_test

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/config"
)

// redisCase is an environment and the Redis that it stands for.
type redisCase struct {
	name    string
	environ []string
	want    redis.UniversalOptions
}

func redisCases() []redisCase {
	return []redisCase{
		{
			"on this machine by default", nil,
			redis.UniversalOptions{Addrs: []string{"localhost:6379"}},
		},
		{
			"where the single variables say",
			[]string{"REDIS_HOST=queue", "REDIS_PORT=6380", "REDIS_DB=2", "REDIS_USERNAME=lane", "REDIS_PASSWORD=a/b@c"},
			redis.UniversalOptions{Addrs: []string{"queue:6380"}, DB: 2, Username: "lane", Password: "a/b@c"},
		},
		{
			"at an IPv6 address", []string{"REDIS_HOST=::1"},
			redis.UniversalOptions{Addrs: []string{"[::1]:6379"}},
		},
		{
			"where the URL says, whatever the single variables say",
			[]string{"REDIS_URL=redis://queue", "REDIS_HOST=other", "REDIS_PORT=1", "REDIS_DB=1", "REDIS_USERNAME=other", "REDIS_PASSWORD=other"},
			redis.UniversalOptions{Addrs: []string{"queue:6379"}},
		},
		{
			"with user, password, port and database in the URL",
			[]string{"REDIS_URL=redis://lane:a%2Fb%40c:d+e@queue:6380/3"},
			redis.UniversalOptions{Addrs: []string{"queue:6380"}, DB: 3, Username: "lane", Password: "a/b@c:d+e"},
		},
		{
			"with a password alone and the database as a parameter",
			[]string{"REDIS_URL=redis://:p@ss@[::1]:6380/?db=4"},
			redis.UniversalOptions{Addrs: []string{"[::1]:6380"}, DB: 4, Password: "p@ss"},
		},
		{
			"behind Sentinels, master and database in the path",
			[]string{"REDIS_URL=redis-sentinel://lane:key@one:26380,two,[::1]/tracks/5"},
			redis.UniversalOptions{Addrs: []string{"one:26380", "two:26379", "[::1]:26379"}, MasterName: "tracks", DB: 5, Username: "lane", Password: "key"},
		},
		{
			"behind one Sentinel, the database left out",
			[]string{"REDIS_URL=redis-sentinel://one/tracks"},
			redis.UniversalOptions{Addrs: []string{"one:26379"}, MasterName: "tracks"},
		},
		{
			"behind Sentinels with a password of their own, the rest as parameters",
			[]string{"REDIS_URL=redis-sentinel://:key@one,two?master=tracks&db=6&sentinel_username=watch&sentinel_password=w%26tch"},
			redis.UniversalOptions{Addrs: []string{"one:26379", "two:26379"}, MasterName: "tracks", DB: 6, Password: "key", SentinelUsername: "watch", SentinelPassword: "w&tch"},
		},
		{
			"behind Sentinels, master as a parameter and database in the path",
			[]string{"REDIS_URL=redis-sentinel://one/7?master=tracks"},
			redis.UniversalOptions{Addrs: []string{"one:26379"}, MasterName: "tracks", DB: 7},
		},
		{
			"a cluster, of which some servers are named",
			[]string{"REDIS_URL=redis-cluster://lane:key@one:7000,two,[::1]/0"},
			redis.UniversalOptions{Addrs: []string{"one:7000", "two:6379", "[::1]:6379"}, IsClusterMode: true, Username: "lane", Password: "key"},
		},
		{
			"a cluster, of which one server is named",
			[]string{"REDIS_URL=redis-cluster://one"},
			redis.UniversalOptions{Addrs: []string{"one:6379"}, IsClusterMode: true},
		},
	}
}

func TestRedis_OptionsSayWhereRedisIs(t *testing.T) {
	for _, test := range redisCases() {
		t.Run(test.name, func(t *testing.T) {
			loaded, err := config.Load(append(test.environ, databaseURL))
			require.NoError(t, err)
			options, err := loaded.Redis.Options()
			require.NoError(t, err)
			assert.Equal(t, &test.want, options)
		})
	}
}

func TestRedis_OptionsOfARedissURLVerifyTheServer(t *testing.T) {
	options, err := config.Redis{URL: "rediss://:key@queue.example"}.Options()
	require.NoError(t, err)
	assert.Equal(t, []string{"queue.example:6379"}, options.Addrs)
	require.NotNil(t, options.TLSConfig)
	assert.Equal(t, "queue.example", options.TLSConfig.ServerName)
	assert.False(t, options.TLSConfig.InsecureSkipVerify)
}

// Each server of a cluster is verified by the name or the address at which it is reached.
func TestRedis_OptionsOfARedissClusterURLVerifyEachServer(t *testing.T) {
	options, err := config.Redis{URL: "rediss-cluster://:key@one.example,two.example"}.Options()
	require.NoError(t, err)
	assert.Equal(t, []string{"one.example:6379", "two.example:6379"}, options.Addrs)
	assert.True(t, options.IsClusterMode)
	require.NotNil(t, options.TLSConfig)
	assert.Empty(t, options.TLSConfig.ServerName)
	assert.False(t, options.TLSConfig.InsecureSkipVerify)
}

func TestRedis_OptionsChooseTheKindOfClient(t *testing.T) {
	tests := []struct {
		name, url string
		want      string
	}{
		{"a single server for redis://", "redis://queue", "*redis.Client Redis<queue:6379 db:0>"},
		{"a failover client for redis-sentinel://", "redis-sentinel://one,two/tracks", "*redis.Client Redis<FailoverClient db:0>"},
		{"a cluster client for redis-cluster://", "redis-cluster://one", "*redis.ClusterClient"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			options, err := config.Redis{URL: test.url}.Options()
			require.NoError(t, err)
			client := redis.NewUniversalClient(options)
			defer func() { require.NoError(t, client.Close()) }()
			kind := fmt.Sprintf("%T", client)
			if single, ok := client.(*redis.Client); ok {
				kind += " " + single.String()
			}
			assert.Equal(t, test.want, kind)
		})
	}
}

func TestRedis_OptionsSayWhatIsWrongWithAURL(t *testing.T) {
	tests := []struct {
		name, url, want string
	}{
		{"no scheme", "queue:6379", "the scheme is not known"},
		{"a scheme of another program", "http://queue", "the scheme is not known"},
		{"a database of a cluster", "redis-cluster://one,two/1", "a cluster has no database but 0"},
		{"no host of a cluster after a comma", "rediss-cluster://one,", "a host is missing or malformed"},
		{"a master of a cluster", "redis-cluster://one?master=tracks", "master goes with redis-sentinel:// only"},
		{"no host", "redis://", "a host is missing or malformed"},
		{"no host beside a port", "redis://:6379", "a host is missing or malformed"},
		{"no host after a comma", "redis-sentinel://one,/tracks", "a host is missing or malformed"},
		{"too many colons", "redis://queue:6379:6379", "a host is missing or malformed"},
		{"a port that is none", "redis://queue:http", "a port is not a number from 1 to 65535"},
		{"a port that is too high", "redis://queue:65536", "a port is not a number from 1 to 65535"},
		{"a port left empty", "redis://queue:", "a port is not a number from 1 to 65535"},
		{"a database that is none", "redis://queue/tracks", "the database is not a number from 0 to 65535"},
		{"a database below zero", "redis://queue/-1", "the database is not a number from 0 to 65535"},
		{"two databases", "redis://queue/1?db=2", "the database is there twice, in the path and as db"},
		{"the same parameter twice", "redis://queue?db=1&db=2", "db is there more than once"},
		{"several hosts without a Sentinel", "redis://one,two", "several hosts go with redis-sentinel:// and redis-cluster:// only"},
		{"a master without a Sentinel", "redis://queue?master=tracks", "master goes with redis-sentinel:// only"},
		{"a Sentinel without a master", "redis-sentinel://one", "the name of the master is missing or not rightly percent-encoded"},
		{"a master that is not rightly encoded", "redis-sentinel://one/%zz", "the name of the master is missing or not rightly percent-encoded"},
		{"a user that is not rightly encoded", "redis://%zz:key@queue", "the user is not rightly percent-encoded"},
		{"a password that is not rightly encoded", "redis://:%zz@queue", "the password is not rightly percent-encoded"},
		{"a slash in the password", "redis://:a/b@queue", "special characters of user and password have to be percent-encoded"},
		{"a parameter that is not known", "redis://queue?pool_size=9", "it has a parameter that is not known (timeouts and pool sizes are variables of their own)"},
		{"parameters that are not rightly encoded", "redis://queue?db=%zz", "the part after ? is not rightly percent-encoded"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := config.Redis{URL: test.url}.Options()
			assert.EqualError(t, err, "REDIS_URL (value not shown): "+test.want+"; must be "+
				"redis://[user:password@]host[:port][/db], the same with rediss://, "+
				"redis-sentinel://[user:password@]host[:port][,host[:port]...]/master[/db], "+
				"redis-cluster://[user:password@]host[:port][,host[:port]...], or the same with rediss-cluster://")
		})
	}
}
