package app

import (
	"net"
	"os"
	"strings"

	"tracklane/handlers"
	"tracklane/internal/auth"
	"tracklane/internal/listener"
)

// access is who may do what in this process.
func (p *Program) access() handlers.Access {
	access := handlers.Access{
		RateLimit: p.config.RateLimit, RateBurst: p.config.RateBurst, MaxPerAddress: p.config.MaxConnectionsPerAddress,
		TrustedProxies: p.config.TrustedProxies, Origins: p.config.CORSOrigins, Hosts: p.hosts(),
	}
	if p.config.AuthRequired() {
		access.Tokens = auth.NewVerifier(p.config.SecretKey, p.config.SecretKeyPrevious)
		access.Operator = auth.NewOperator(p.config.OperatorUser, p.config.OperatorPassword)
	}
	return access
}

// hosts are the names of this machine that are known without asking anybody.
func (p *Program) hosts() []string {
	var names []string
	if name, err := os.Hostname(); err == nil {
		names = append(names, strings.ToLower(name))
	}
	for _, address := range []string{p.config.HTTPAddr, p.config.OperatorAddr} {
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" {
			names = append(names, strings.ToLower(host))
		}
	}
	return names
}

// isOpenToOthers reports whether everybody on another machine may do everything.
func (p *Program) isOpenToOthers() bool {
	if p.config.AuthRequired() {
		return false
	}
	for _, l := range []*listener.Listener{p.listener, p.operators} {
		if l != nil && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return true
		}
	}
	return false
}
