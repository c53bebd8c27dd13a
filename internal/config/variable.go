package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
)

// Variable describes one environment variable.
type Variable struct {
	// Name of the environment variable.
	Name string

	// Default is what an unset variable means; empty when there is none.
	Default string

	// Meaning says in a phrase what the value does.
	Meaning string

	// Accepts says in a phrase which values are right; empty means any text.
	Accepts string

	// Required says that there is no start without a value.
	Required bool

	// Secret says that the value must not be shown.
	Secret bool
}

// Describe lists every environment variable that Load reads, in the order of
// Config's fields.
func Describe() []Variable {
	var described []Variable
	for _, variable := range variables(lane.All(lane.Options{})) {
		described = append(described, variable.Variable)
	}
	return described
}

// variable is a Variable with what it takes to check a value.
type variable struct {
	Variable
	field reflect.StructField
}

// variables walks the fields of Config, and those of Lane once for each lane.
func variables(lanes []*lane.Lane) []variable {
	var found []variable
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		switch field.Type {
		case reflect.TypeFor[Redis]():
			for _, redisField := range reflect.VisibleFields(field.Type) {
				found = append(found, newVariable(redisField))
			}
		case reflect.TypeFor[map[string]Lane]():
			found = append(found, laneVariables(lanes)...)
		default:
			found = append(found, newVariable(field))
		}
	}
	return found
}

func laneVariables(lanes []*lane.Lane) []variable {
	var found []variable
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Lane]()) {
		for _, each := range lanes {
			variable := newVariable(field)
			variable.Name = laneVariable(variable.Name, each)
			variable.Meaning = each.Name + " lane: " + variable.Meaning
			if variable.Default == "" {
				variable.Default = strconv.Itoa(each.Weight)
			}
			found = append(found, variable)
		}
	}
	return found
}

func laneVariable(name string, of *lane.Lane) string {
	return name + "_" + strings.ToUpper(of.Name)
}

// loadLanes reads each lane's settings from values that have been checked.
func loadLanes(values map[string]string, lanes []*lane.Lane) (map[string]Lane, error) {
	loaded := make(map[string]Lane)
	for _, each := range lanes {
		own := make(map[string]string)
		for _, field := range reflect.VisibleFields(reflect.TypeFor[Lane]()) {
			name := newVariable(field).Name
			own[name] = values[laneVariable(name, each)]
		}
		settings := Lane{Weight: each.Weight}
		if err := env.ParseWithOptions(&settings, env.Options{Environment: own}); err != nil {
			return nil, fmt.Errorf("read configuration of lane %s from the environment: %w", each.Name, err)
		}
		loaded[each.Name] = settings
	}
	return loaded, nil
}

func newVariable(field reflect.StructField) variable {
	name, option, _ := strings.Cut(field.Tag.Get("env"), ",")
	found := variable{field: field, Variable: Variable{
		Name:     name,
		Default:  field.Tag.Get("envDefault"),
		Meaning:  field.Tag.Get("help"),
		Required: option == "required",
		Secret:   field.Tag.Get("secret") == "true",
	}}
	found.Accepts = found.accepts()
	return found
}

// accepts says in words what check lets through.
func (v variable) accepts() string {
	if values := v.values(); len(values) > 0 {
		return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
	}
	switch v.field.Tag.Get("format") {
	case "address":
		return "an address such as :8080 or 127.0.0.1:8080"
	case "host":
		return "a host name or an IP address, without a port"
	case "database":
		return databaseForm
	case "redis":
		return redisForm
	case "key":
		return fmt.Sprintf("at least %d characters", auth.MinKeyLength)
	case "origins":
		return "origins of web pages, as browsers send them, with commas between them, such as https://race.example,http://localhost:5173"
	case "tiles":
		return tilesForm
	case "networks":
		return "networks or addresses with commas between them, such as 10.0.0.0/8,192.0.2.7"
	}
	switch v.field.Type {
	case reflect.TypeFor[bool]():
		return "true or false"
	case reflect.TypeFor[int]():
		least, most := v.intBounds()
		if most == math.MaxInt {
			return fmt.Sprintf("a whole number, at least %d", least)
		}
		return fmt.Sprintf("a whole number from %d to %d", least, most)
	case reflect.TypeFor[time.Duration]():
		if v.leastDuration() == 0 {
			return "0 or a duration such as 90m or 168h"
		}
		return fmt.Sprintf("a duration such as 1500ms or 30s, at least %s", v.leastDuration())
	}
	return ""
}

// check returns nil when value, empty for unset, is right for the variable by
// itself. Otherwise the error is the line to show to the operator.
func (v variable) check(value string) error {
	if value == "" {
		if v.Required {
			return fmt.Errorf("%s is not set: must be %s", v.Name, v.Accepts)
		}
		return nil
	}
	switch v.field.Tag.Get("format") {
	case "database":
		if _, err := pgxpool.ParseConfig(value); err != nil {
			return databaseURLError(err)
		}
		return nil
	case "redis":
		if _, err := parseRedisURL(value); err != nil {
			return err
		}
		return nil
	}
	if v.accepted(value) {
		return nil
	}
	if !v.mayShow(value) {
		return fmt.Errorf("%s (value not shown): must be %s", v.Name, v.Accepts)
	}
	return fmt.Errorf("%s=%q: must be %s", v.Name, value, v.Accepts)
}

// mayShow reports whether a wrong value can be no secret. One with an @ may be a URL
// with a password, set under a wrong name. Of a variable that stands beside a password
// and is mistaken for it, only numbers and a host with a port are shown.
func (v variable) mayShow(value string) bool {
	if v.Secret || strings.Contains(value, "@") {
		return false
	}
	if v.field.Tag.Get("mistakable") != "true" {
		return true
	}
	if strings.Trim(value, "0123456789") == "" {
		return true
	}
	host, port, err := net.SplitHostPort(value)
	return err == nil && isHost(host) && isPort(port, 0) && v.field.Tag.Get("format") == "host"
}

func (v variable) accepted(value string) bool {
	if values := v.values(); len(values) > 0 {
		for _, possible := range values {
			if value == possible {
				return true
			}
		}
		return false
	}
	switch v.field.Tag.Get("format") {
	case "address":
		_, port, err := net.SplitHostPort(value)
		return err == nil && isPort(port, 0)
	case "host":
		return isHost(value)
	case "key":
		return len(value) >= auth.MinKeyLength
	case "origins":
		return new(Origins).UnmarshalText([]byte(value)) == nil
	case "tiles":
		return isTiles(value)
	case "networks":
		return new(Networks).UnmarshalText([]byte(value)) == nil
	}
	switch v.field.Type {
	case reflect.TypeFor[bool]():
		_, err := strconv.ParseBool(value)
		return err == nil
	case reflect.TypeFor[int]():
		number, err := strconv.Atoi(value)
		least, most := v.intBounds()
		return err == nil && least <= number && number <= most
	case reflect.TypeFor[time.Duration]():
		duration, err := time.ParseDuration(value)
		return err == nil && duration >= v.leastDuration()
	}
	return true
}

func (v variable) values() []string {
	return strings.Fields(v.field.Tag.Get("oneof"))
}

// intBounds reads the min and max tags; without max there is no upper bound.
func (v variable) intBounds() (least, most int) {
	least, _ = strconv.Atoi(v.field.Tag.Get("min"))
	most, err := strconv.Atoi(v.field.Tag.Get("max"))
	if errors.Is(err, strconv.ErrSyntax) {
		most = math.MaxInt
	}
	return least, most
}

func (v variable) leastDuration() time.Duration {
	least, _ := time.ParseDuration(v.field.Tag.Get("min"))
	return least
}

func isPort(text string, least int) bool {
	port, err := strconv.Atoi(text)
	return err == nil && least <= port && port <= 65535
}

// isHost tells a host name or a bare IP address from something that a port or
// a URL was left in.
func isHost(text string) bool {
	if strings.Contains(text, ":") {
		_, err := netip.ParseAddr(text)
		return err == nil
	}
	return text != "" && !strings.ContainsAny(text, "/@?#[] \t\r\n")
}
