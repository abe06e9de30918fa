package arm

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// tokenLife is how long a token is said to be valid.
const tokenLife = time.Hour

// front answers what comes before Azure Resource Manager itself: the token service
// and the description of the cloud. It asks for nothing and checks nothing.
func (s *Server) front(r *http.Request, body []byte) (answer, bool) {
	path := strings.Split(strings.Trim(strings.ToLower(r.URL.Path), "/"), "/")
	at := base(r)
	if len(path) < 2 || path[0] == "subscriptions" || path[0] == "providers" {
		return answer{}, false
	}
	tenant := path[0]
	switch rest := strings.Join(path[1:], "/"); {
	case tenant == "metadata" && rest == "endpoints":
		return endpoints(at, r.URL.Query().Get("api-version")), true
	case rest == "oauth2/v2.0/token", rest == "oauth2/token":
		if r.Method != http.MethodPost {
			return answer{}, false
		}
		return ok(s.token(at, tenant, rest == "oauth2/v2.0/token", body)), true
	case rest == "v2.0/.well-known/openid-configuration", rest == ".well-known/openid-configuration":
		return ok(openID(at, tenant)), true
	case rest == "discovery/instance":
		return ok(discovery(at, r.Host)), true
	case rest == "discovery/v2.0/keys", rest == "discovery/keys":
		return ok(object{"keys": []any{}}), true
	}
	return answer{}, false
}

// authenticate asks for a bearer token, of any content, where the server is told to.
func (s *Server) authenticate(r *http.Request) *armError {
	if !s.cfg.RequireToken {
		return nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(token) != "" {
		return nil
	}
	message := "Authentication failed. The 'Authorization' header is missing."
	if scheme != "" {
		message = "Authentication failed. The 'Authorization' header is provided in an invalid format."
	}
	e := errorf(http.StatusUnauthorized, "AuthenticationFailed", "%s", message)
	e.Headers = map[string]string{"Www-Authenticate": fmt.Sprintf(
		`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`, base(r), tenantID, message)}
	return e
}

// token is the answer of the token service. Its times are real: clients compare them
// with their own clock.
func (s *Server) token(at, tenant string, v2 bool, body []byte) object {
	form, _ := url.ParseQuery(string(body)) // what does not read asks for nothing
	now := s.clock.real()
	client := cmp.Or(form.Get("client_id"), guid("client"))
	audience := cmp.Or(form.Get("resource"), strings.TrimSuffix(strings.Fields(form.Get("scope") + " " + at)[0], "/.default"))
	claims := object{
		"aud": audience, "iss": at + "/" + tenantID + "/", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLife).Unix(),
		"appid": client, "azp": client, "idtyp": "app", "oid": guid("principal", client), "sub": guid("principal", client), "tid": tenantID, "ver": "1.0",
	}
	answer := object{
		"token_type": "Bearer", "expires_in": int(tokenLife.Seconds()), "ext_expires_in": int(tokenLife.Seconds()),
		"access_token": jwt(claims),
	}
	if !v2 {
		seconds := strconv.Itoa(int(tokenLife.Seconds()))
		answer["expires_in"], answer["ext_expires_in"] = seconds, seconds
		answer["expires_on"], answer["not_before"] = strconv.FormatInt(now.Add(tokenLife).Unix(), 10), strconv.FormatInt(now.Unix(), 10)
		answer["resource"] = audience
		if tenant == "adfs" {
			answer["expires_in"] = int(tokenLife.Seconds())
		}
	}
	if form.Get("grant_type") != "client_credentials" {
		answer["refresh_token"] = "fleetsim"
		answer["scope"] = cmp.Or(form.Get("scope"), audience)
		answer["id_token"] = jwt(object{
			"aud": client, "iss": claims["iss"], "iat": claims["iat"], "exp": claims["exp"], "oid": claims["oid"], "sub": claims["sub"],
			"tid": tenantID, "preferred_username": "fleetsim", "name": "fleetsim", "ver": "2.0",
		})
	}
	return answer
}

// jwt writes claims as a token, with a signature that nobody can check.
func jwt(claims object) string {
	part := func(v any) string {
		data, _ := json.Marshal(v) // text and numbers encode
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return part(object{"alg": "RS256", "typ": "JWT", "kid": "fleetsim"}) + "." + part(claims) + "." + base64.RawURLEncoding.EncodeToString([]byte("fleetsim"))
}

// openID describes the token service of a tenant.
func openID(at, tenant string) object {
	of := at + "/" + tenant
	o := object{
		"issuer": of + "/v2.0", "token_endpoint": of + "/oauth2/v2.0/token", "authorization_endpoint": of + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint": of + "/oauth2/v2.0/devicecode", "jwks_uri": of + "/discovery/v2.0/keys",
		"response_types_supported": []any{"code", "id_token"}, "subject_types_supported": []any{"pairwise"}, "tenant_region_scope": nil,
		"id_token_signing_alg_values_supported": []any{"RS256"}, "token_endpoint_auth_methods_supported": []any{"client_secret_post", "private_key_jwt"},
	}
	if tenant == "adfs" {
		o["issuer"], o["token_endpoint"], o["authorization_endpoint"] = of, of+"/oauth2/token", of+"/oauth2/authorize"
		o["device_authorization_endpoint"], o["jwks_uri"] = of+"/oauth2/devicecode", of+"/discovery/keys"
	}
	return o
}

// discovery says that the token service is the only one of its cloud.
func discovery(at, host string) object {
	return object{
		"tenant_discovery_endpoint": at + "/" + tenantID + "/v2.0/.well-known/openid-configuration", "api-version": "1.1",
		"metadata": []any{object{"preferred_network": host, "preferred_cache": host, "aliases": []any{host}}},
	}
}

// endpoints describes the cloud: a list before 2022, an object since then.
func endpoints(at, version string) answer {
	cloud := object{
		"name": "fleetsim", "portal": at, "resourceManager": at + "/", "gallery": at + "/", "graph": at + "/", "graphAudience": at + "/",
		"batch": "https://batch.core.windows.net/", "media": "https://rest.media.azure.net", "sqlManagement": "https://management.core.windows.net:8443/",
		"vmImageAliasDoc": "", "activeDirectoryDataLake": "https://datalake.azure.net/",
		"microsoftGraphResourceId": at + "/", "appInsightsResourceId": "https://api.applicationinsights.io",
		"appInsightsTelemetryChannelResourceId": "https://dc.applicationinsights.azure.com/v2/track",
		"attestationResourceId":                 "https://attest.azure.net", "synapseAnalyticsResourceId": "https://dev.azuresynapse.net",
		"logAnalyticsResourceId": "https://api.loganalytics.io", "ossrDbmsResourceId": "https://ossrdbms-aad.database.windows.net",
		"authentication": object{"loginEndpoint": at, "audiences": []any{at + "/", "https://management.core.windows.net/", "https://management.azure.com/"}, "tenant": "common", "identityProvider": "AAD"},
		"suffixes": object{
			"storage": "core.windows.net", "keyVaultDns": "vault.azure.net", "acrLoginServer": "azurecr.io", "sqlServerHostname": "database.windows.net",
			"azureDataLakeStoreFileSystem": "azuredatalakestore.net", "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
			"azureFrontDoorEndpointSuffix": "azurefd.net", "storageSyncEndpointSuffix": "afs.azure.net", "mhsmDns": "managedhsm.azure.net",
			"mysqlServerEndpoint": "mysql.database.azure.com", "postgresqlServerEndpoint": "postgres.database.azure.com",
			"mariadbServerEndpoint": "mariadb.database.azure.com", "synapseAnalytics": "dev.azuresynapse.net", "attestationEndpoint": "attest.azure.net",
		},
	}
	switch {
	case version == "":
		e := errorf(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
		return answer{Status: e.Status, Body: e.body()}
	case version < "2019-05-01":
		auth := sub(cloud, "authentication")
		return ok(object{"galleryEndpoint": at + "/", "graphEndpoint": at + "/", "portalEndpoint": at, "authentication": object{"loginEndpoint": auth["loginEndpoint"], "audiences": auth["audiences"]}})
	case version < "2022-09-01":
		return ok([]any{cloud})
	}
	return ok(cloud)
}

// certificateLife is how long the certificates of a simulation are valid.
const certificateLife = 30 * 24 * time.Hour

// NewCertificate makes a certificate authority for one simulation and a certificate
// for hosts, besides those of loopback. ca is the authority's certificate in PEM; its
// key is forgotten.
func NewCertificate(hosts ...string) (cert tls.Certificate, ca []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, fmt.Errorf("make the authority's key: %w", err)
	}
	begin := time.Now().Add(-time.Hour)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(begin.UnixNano()), Subject: pkix.Name{CommonName: "fleetsim"},
		NotBefore: begin, NotAfter: begin.Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, caKey.Public(), caKey)
	if err != nil {
		return cert, nil, fmt.Errorf("make the authority: %w", err)
	}
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, fmt.Errorf("make the server's key: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(begin.UnixNano() + 1), Subject: pkix.Name{CommonName: "fleetsim"},
		NotBefore: begin, NotAfter: begin.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else if host != "" {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), caKey)
	if err != nil {
		return cert, nil, fmt.Errorf("make the server's certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{leafDER, der}, PrivateKey: key}, ca, nil
}
