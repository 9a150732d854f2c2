// gomemcache against one server: a line per feature. usage: gomemcache HOST:PORT
// INTEROP_TLS is the port of the same server that speaks TLS, INTEROP_CA its authority.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

var client *memcache.Client

func check(feature string, call func() error) {
	if err := call(); err != nil {
		fmt.Printf("%s\tFAILED %v\n", feature, err)
		return
	}
	fmt.Printf("%s\tok\n", feature)
}

func item(key, value string) *memcache.Item {
	return &memcache.Item{Key: key, Value: []byte(value), Expiration: 100}
}

func holds(key, value string) error {
	got, err := client.Get(key)
	if err != nil {
		return err
	}
	if string(got.Value) != value {
		return fmt.Errorf("wanted %.40q, got %.40q", value, got.Value)
	}
	return nil
}

func wanted(got, wanted error) error {
	if !errors.Is(got, wanted) {
		return fmt.Errorf("wanted %v, got %v", wanted, got)
	}
	return nil
}

func cas() error {
	got, err := client.Get("k")
	if err != nil {
		return err
	}
	got.Value = []byte("new")
	return errors.Join(client.CompareAndSwap(got), wanted(client.CompareAndSwap(got), memcache.ErrCASConflict), holds("k", "new"))
}

func count() error {
	if err := client.Set(item("n", "5")); err != nil {
		return err
	}
	up, first := client.Increment("n", 4)
	down, second := client.Decrement("n", 20)
	if up != 9 || down != 0 {
		return fmt.Errorf("got %d, %d", up, down)
	}
	return errors.Join(first, second)
}

func many() error {
	first, second := client.Set(item("m1", "1")), client.Set(item("m2", "2"))
	got, err := client.GetMulti([]string{"m1", "m2", "none"})
	if err == nil && len(got) != 2 {
		err = fmt.Errorf("got %d", len(got))
	}
	return errors.Join(first, second, err)
}

func expiry() error {
	err := client.Set(&memcache.Item{Key: "short", Value: []byte("1"), Expiration: 1})
	time.Sleep(2100 * time.Millisecond)
	_, gone := client.Get("short")
	return errors.Join(err, wanted(gone, memcache.ErrCacheMiss))
}

// Over TLS, with an authority that signed the server's certificate, and without one.
func secured() error {
	host, _, err := net.SplitHostPort(os.Args[1])
	authority, fault := os.ReadFile(os.Getenv("INTEROP_CA"))
	if err = errors.Join(err, fault); err != nil {
		return err
	}
	at := func(trusted *x509.CertPool) *memcache.Client {
		secured := memcache.New(net.JoinHostPort(host, os.Getenv("INTEROP_TLS")))
		secured.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&tls.Dialer{Config: &tls.Config{RootCAs: trusted}}).DialContext(ctx, network, address)
		}
		return secured
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	if err := at(trusted).Set(item("t", "1")); err != nil {
		return err
	}
	got, err := at(trusted).Get("t")
	if err != nil || string(got.Value) != "1" {
		return fmt.Errorf("got %v, %w", got, err)
	}
	if _, err := at(x509.NewCertPool()).Get("t"); err == nil || errors.Is(err, memcache.ErrCacheMiss) {
		return errors.New("a foreign certificate was accepted")
	}
	return nil
}

func miss(key string) error {
	_, err := client.Get(key)
	return wanted(err, memcache.ErrCacheMiss)
}

func main() {
	client = memcache.New(os.Args[1])
	client.Timeout = 10 * time.Second
	large := string(bytes.Repeat([]byte("x"), 900_000))
	check("get and set", func() error { return errors.Join(client.Set(item("k", "1")), holds("k", "1"), miss("none")) })
	check("add", func() error {
		_ = client.Delete("fresh")
		return errors.Join(client.Add(item("fresh", "1")), wanted(client.Add(item("fresh", "2")), memcache.ErrNotStored))
	})
	check("replace", func() error {
		return errors.Join(client.Replace(item("k", "2")), wanted(client.Replace(item("none", "2")), memcache.ErrNotStored))
	})
	check("append and prepend", func() error {
		return errors.Join(client.Append(item("k", "b")), client.Prepend(item("k", "a")), holds("k", "a2b"))
	})
	check("cas", cas)
	check("incr and decr", count)
	check("touch", func() error { return errors.Join(client.Touch("k", 100), wanted(client.Touch("none", 100), memcache.ErrCacheMiss)) })
	check("multi-get", many)
	check("large value", func() error { return errors.Join(client.Set(item("large", large)), holds("large", large)) })
	check("over-limit value", func() error {
		_ = client.Set(item("big", large+large))
		return errors.Join(client.Set(item("after", "1")), holds("after", "1"))
	})
	check("expiry", expiry)
	check("delete", func() error { return errors.Join(client.Delete("k"), wanted(client.Delete("k"), memcache.ErrCacheMiss)) })
	check("flush", func() error { return errors.Join(client.FlushAll(), miss("m1")) })
	check("tls", secured)
}
