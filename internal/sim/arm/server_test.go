package arm

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnknownTypeIsKept(t *testing.T) {
	w := newWorld(t)
	id := group + "/providers/Microsoft.Example/things/one"
	put := w.do("PUT", id, `{"location":"eastus","properties":{"n":1.50,"deep":{"list":[1,null,"x"]}},"odd":true}`).want(201)
	got := w.get(group + "/PROVIDERS/microsoft.example/THINGS/One").want(200)
	require.Equal(t, put.raw, got.raw)
	require.JSONEq(t, `{"id":"`+id+`","name":"one","type":"Microsoft.Example/things","location":"eastus","properties":{"n":1.50,"deep":{"list":[1,null,"x"]}},"odd":true}`, got.raw)
	w.do("PATCH", id, `{"properties":{"deep":null,"more":2}}`).want(200)
	got = w.get(id).want(200)
	require.Equal(t, object{"n": 1.5, "more": 2.0}, got.body["properties"])
	require.Len(t, w.get(group + "/providers/Microsoft.Example/things").want(200).body["value"], 1)
	w.do("DELETE", id, nil).want(200)
	w.do("DELETE", id, nil).want(204)
	w.get(id).refused(404, "ResourceNotFound")
}
