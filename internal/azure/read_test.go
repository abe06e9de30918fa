package azure

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A list goes on at a link without a host, too, and what is null in it is no value. Spaces
// in a query are written so that every service understands them.
func TestListGoesOn(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI()+" "+r.Header.Get("Accept"))
		body := `{"value":[null,{"id":"a","Properties":null}],"nextLink":"/next?api-version=1&$skiptoken=a;b"}`
		if len(asked) > 1 {
			body = `{"VALUE":null}`
		}
		answer(http.StatusOK, body)(w, r)
	}))
	defer server.Close()
	all, err := clientOf(t, server).Resources(t.Context(), compute+"virtualMachines", "a eq 'b+c'")
	require.NoError(t, err)
	require.Equal(t, []fleet.Document{{"id": "a", "Properties": nil}}, all)
	require.Equal(t, []string{
		compute + "virtualMachines?%24filter=a%20eq%20%27b%2Bc%27&api-version=2026-04-01 application/json",
		"/next?%24skiptoken=a%3Bb&api-version=1 ",
	}, asked)
}

// What stands in a list and is no resource is not Azure's, and a field of the wrong type is
// none.
func TestErrorOfOddValues(t *testing.T) {
	for _, body := range []string{`{"value":[7]}`, `{"value":["x"]}`, `{"value":7}`, `{"value":[],"nextLink":7}`, `[]`} {
		client, _ := with(t, &handlerTransport{Handler: answer(http.StatusOK, body)})
		_, err := client.Resources(t.Context(), compute+"virtualMachines", "")
		require.ErrorIs(t, err, &Error{Kind: Garbled}, body)
		require.ErrorContains(t, err, "list virtualMachines: the answer is not what Azure says", body)
	}
	client, _ := with(t, &handlerTransport{Handler: answer(http.StatusOK, `{"value":[{"ID":"`+authz+`","sku":{"capacity":"x","name":"Standard_D2as_v5"},"zones":"1","properties":[]}]}`)})
	sets, err := client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.NoError(t, err)
	require.Equal(t, []fleet.ScaleSet{{ID: authz, VMSize: "Standard_D2as_v5"}}, sets)
}

// What Azure names and is no name is not asked for.
func TestErrorOfOddNames(t *testing.T) {
	image := compute + "galleries/galProd/images/ubuntu-app"
	for _, name := range []string{``, `,"name":""`, `,"name":"1.0.0?x=y"`, `,"name":7`} {
		transport := &handlerTransport{Handler: answer(http.StatusOK, `{"value":[{"id":"/v"`+name+`}]}`)}
		client, _ := with(t, transport)
		_, err := client.Versions(t.Context(), fleet.ResourceID(image))
		require.ErrorIs(t, err, &Error{Kind: Garbled}, name)
		require.EqualValues(t, 1, transport.calls.Load(), name)
	}
}
