package devservers

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// holdVariable names the variable that makes this test program start servers in
// the directory it holds, print their URLs, and wait to be killed.
const holdVariable = "SERVICES_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

func hold(dir string) {
	postgres, err := StartPostgres(context.Background(), PostgresOptions{Dir: filepath.Join(dir, "postgresql"), Durable: true})
	if err != nil {
		panic(err)
	}
	redis, err := StartRedis(context.Background(), RedisOptions{Dir: filepath.Join(dir, "redis")})
	if err != nil {
		panic(err)
	}
	fmt.Println(postgres.DSN(), redis.URL())
	time.Sleep(time.Minute) // should the test forget to kill it
	os.Exit(1)
}

func TestServers_EndWithTheirProcessAndFreeTheirDirectory(t *testing.T) {
	t.Parallel()
	dir := testDir(t)
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holdVariable+"="+dir)
	holder.Stderr = t.Output()
	output, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	url, _, _ := strings.Cut(line, " ")
	if err == nil {
		execute(t, url, "CREATE TABLE kept ()")
	}
	require.NoError(t, holder.Process.Kill())
	holder.Wait()
	require.NoError(t, err)

	postgres := startedPostgres(t, filepath.Join(dir, "postgresql"))
	assert.Equal(t, 0, count(t, postgres.DSN(), "SELECT count(*) FROM kept"))
	startedRedis(t, RedisOptions{Dir: filepath.Join(dir, "redis")})
	require.Eventually(t, func() bool { return connect(t.Context(), url) != nil }, 5*time.Second, 10*time.Millisecond)
}
