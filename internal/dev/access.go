package dev

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tracklane/internal/auth"
	"tracklane/internal/config"
)

// defaultAddress is where dev listens: on this machine alone.
const defaultAddress = "localhost:8080"

// tokenLifetime is how long the token in the banner is good.
const tokenLifetime = 30 * 24 * time.Hour

// accessEnvironment returns what an environment lacks. Where only this machine
// reaches the program, everything is open; elsewhere it has a key and a password of
// its own, which stay the same in dir.
func accessEnvironment(dir string, get func(string) string) (added []string, err error) {
	address, operators := get("HTTP_ADDR"), get("OPERATOR_ADDR")
	if address == "" {
		address = defaultAddress
		added = append(added, "HTTP_ADDR="+address)
	}
	if get("AUTH") == "" && isLoopback(address) && (operators == "" || isLoopback(operators)) {
		return append(added, "AUTH=off"), nil
	}
	if get("AUTH") == "off" {
		return added, nil
	}
	for _, name := range []string{"SECRET_KEY", "OPERATOR_PASSWORD"} {
		if get(name) != "" {
			continue
		}
		secret, err := keptSecret(filepath.Join(dir, strings.ToLower(name)))
		if err != nil {
			return nil, err
		}
		added = append(added, name+"="+secret)
	}
	return added, nil
}

// isLoopback reports whether only this machine reaches an address.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false // config.Load says what is wrong with it
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// keptSecret returns the secret in a file, which is made if it is missing.
func keptSecret(path string) (string, error) {
	text, err := os.ReadFile(path)
	if secret := strings.TrimSpace(string(text)); err == nil && secret != "" {
		return secret, nil // an empty one was cut off when it was made
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read a secret: %w", err)
	}
	secret := rand.Text() + rand.Text()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("keep a secret: %w", err)
	}
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep a secret: %w", err)
	}
	return secret, nil
}

// relayToken makes a token that posts for anybody and reads everything; empty
// when none is needed.
func relayToken(settings config.Config) (string, error) {
	if !settings.AuthRequired() {
		return "", nil
	}
	now := time.Now()
	return auth.Sign(settings.SecretKey, auth.Claims{Scopes: auth.Scopes(), Expires: now.Add(tokenLifetime)}, now)
}

// databaseAddress is where the database is, without its password.
func databaseAddress(settings config.Config) string {
	pool, err := settings.DatabasePool()
	if err != nil {
		return "" // Load has checked it
	}
	c := pool.ConnConfig
	return fmt.Sprintf("postgres://%s@%s/%s", c.User, net.JoinHostPort(c.Host, fmt.Sprint(c.Port)), c.Database)
}

// redisAddress is where Redis is, without its password.
func redisAddress(settings config.Config) string {
	options, err := settings.Redis.Options()
	if err != nil {
		return "" // Load has checked it
	}
	return fmt.Sprintf("redis://%s/%d", strings.Join(options.Addrs, ","), options.DB)
}
