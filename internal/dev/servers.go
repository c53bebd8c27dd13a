package dev

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"tracklane/internal/config"
	"tracklane/internal/devservers"
)

// stopTimeout limits the stop of each server.
const stopTimeout = 15 * time.Second

// servers are those that were started because the environment names none.
type servers struct {
	environment []string // of this process, with the servers' URLs
	postgres    *devservers.Postgres
	redis       *devservers.Redis
}

// start starts what the environment does not name, with data in dir. After an
// error, stop stops what was started.
func (s *servers) start(ctx context.Context, dir string, logger *slog.Logger) (err error) {
	s.environment = os.Environ()
	if os.Getenv("LOG_FORMAT") == "" {
		s.environment = append(s.environment, "LOG_FORMAT=text")
	}
	access, err := accessEnvironment(dir, os.Getenv)
	if err != nil {
		return err
	}
	s.environment = append(s.environment, access...)
	if os.Getenv("DATABASE_URL") == "" {
		s.postgres, err = devservers.StartPostgres(ctx, devservers.PostgresOptions{
			Dir: filepath.Join(dir, "postgresql"), Durable: true, Logger: logger,
		})
		if err != nil {
			return err
		}
		s.environment = append(s.environment, "DATABASE_URL="+s.postgres.DSN())
	}
	if os.Getenv("REDIS_URL") == "" {
		s.redis, err = devservers.StartRedis(ctx, devservers.RedisOptions{
			Dir: filepath.Join(dir, "redis"), Logger: logger,
		})
		if err != nil {
			return err
		}
		s.environment = append(s.environment, "REDIS_URL="+s.redis.URL())
	}
	return nil
}

// redisAt says where Redis is, and which server it is if it was started here.
func (s *servers) redisAt(settings config.Config) string {
	if s.redis != nil {
		return s.redis.URL() + "  " + s.redis.Name()
	}
	return redisAddress(settings)
}

// databaseAt says where the database is.
func (s *servers) databaseAt(settings config.Config) string {
	if s.postgres != nil {
		return s.postgres.DSN()
	}
	return databaseAddress(settings)
}

// password is the operators' password, if it was made here: one that was given is
// not shown.
func (s *servers) password(settings config.Config) string {
	if !settings.AuthRequired() || os.Getenv("OPERATOR_PASSWORD") != "" {
		return ""
	}
	return settings.OperatorPassword
}

// stop stops what was started.
func (s *servers) stop() error {
	var errs []error
	stop := func(server func(context.Context) error) {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		errs = append(errs, server(ctx))
	}
	if s.postgres != nil {
		stop(s.postgres.Stop)
	}
	if s.redis != nil {
		stop(s.redis.Stop)
	}
	return errors.Join(errs...)
}
