// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

package onnx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/modelfs/modelfs/loaders/internal/hostile"
	"github.com/modelfs/modelfs/loaders/malformed"
	"github.com/modelfs/modelfs/tensors"
)

// body is the content of an initializer, which errors are about.
func body(pieces ...piece) piece { return model(initial(append([]piece{here}, pieces...)...)) }

func TestMalformed(t *testing.T) {
	const top = math.MinInt64
	f := func(fields ...piece) piece { return body(append([]piece{dims(2), typ(1), named("a")}, fields...)...) }
	for name, c := range map[string]struct {
		file piece
		msg  string
	}{
		"empty":           {join(here), "it is no ONNX model: it has no ir_version above 0"},
		"text":            {join(here, bin([]byte("version https://git-lfs.github.com/spec/v1\n")...)), "the field 14 is of the wire type 6, which ONNX does not have"},
		"zeros":           {join(here, zeros(20)), "a field of the number 0"},
		"no version":      {join(here, sub(7)), "it is no ONNX model: it has no ir_version above 0"},
		"version 0":       {join(here, num(1, 0), sub(7)), "it is no ONNX model: it has no ir_version above 0"},
		"version -1":      {join(here, num(1, -1), sub(7)), "it is no ONNX model: it has no ir_version above 0"},
		"no graph":        {join(here, num(1, 8), str(2, "x")), "it is no ONNX model: it has no graph"},
		"version twice":   {join(num(1, 8), here, num(1, 8), sub(7)), "the field 1 is there twice"},
		"graph twice":     {join(num(1, 8), sub(7, simple("a")), here, sub(7, simple("b"))), "the field 7 is there twice"},
		"version of text": {join(here, str(1, "8"), sub(7)), "the field 1 is of the wire type 2 instead of 0"},
		"graph a number":  {join(num(1, 8), here, num(7, 1)), "the field 7 is of the wire type 0 instead of 2"},
		"functions":       {join(here, num(25, 1), model()), "the field 25 is of the wire type 0 instead of 2"},
		"training":        {join(here, num(20, 1), model()), "the field 20 is of the wire type 0 instead of 2"},
		"algorithm twice": {join(sub(20, sub(2), here, sub(2)), model()), "the field 2 is there twice"},
		"function's name": {join(sub(25, str(1, "a"), here, str(1, "b")), model()), "the field 1 is there twice"},

		"group":             {model(here, tag(9, 3), tag(9, 4)), "the field 9 is of the wire type 3, which ONNX does not have"},
		"end of a group":    {model(here, tag(9, 4)), "the field 9 is of the wire type 4, which ONNX does not have"},
		"wire type 7":       {model(here, tag(9, 7)), "the field 9 is of the wire type 7, which ONNX does not have"},
		"field 0":           {model(here, tag(0, 2)), "a field of the number 0"},
		"field 2^29":        {model(here, tag(1<<29, 0)), "a field of the number 536870912"},
		"a neighbour's":     {join(model(initial(here, tag(12, 2), varint(3), zeros(2))), str(2, "producer")), "the field 12 has a length of 3, 2 bytes are left of its message"},
		"number too long":   {model(here, bin(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00)), "a number of over 64 bits"},
		"number of 65 bits": {model(tag(9, 0), here, bin(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02)), "a number of over 64 bits"},
		"number cut off":    {model(tag(9, 0), here, bin(0xff)), "a number does not end before its message does, at byte 6"},
		"tag alone":         {model(tag(9, 0), here), "a number does not end before its message does, at byte 5"},
		"length cut off":    {model(tag(9, 2), here, bin(0x80)), "a number does not end before its message does, at byte 6"},
		"length":            {model(here, tag(9, 2), bin(2, 0)), "the field 9 has a length of 2, 1 bytes are left of its message"},
		"length 2^63":       {model(here, tag(9, 2), varint(1<<63)), "the field 9 has a length of 9223372036854775808, 0 bytes are left of its message"},
		"length 2^64":       {model(here, tag(9, 2), varint(math.MaxUint64)), "the field 9 has a length of 18446744073709551615, 0 bytes are left of its message"},
		"fixed32":           {model(here, tag(9, 5), zeros(3)), "the field 9 has a length of 4, 3 bytes are left of its message"},
		"fixed64":           {model(here, tag(9, 1), zeros(7)), "the field 9 has a length of 8, 7 bytes are left of its message"},
		"out of its parent": {join(num(1, 8), tag(7, 2), varint(4), here, tag(5, 2), varint(9), zeros(2)), "the field 5 has a length of 9, 2 bytes are left of its message"},

		"node":              {model(here, num(1, 1)), "the field 1 is of the wire type 0 instead of 2"},
		"initializer":       {model(here, num(5, 1)), "the field 5 is of the wire type 0 instead of 2"},
		"sparse":            {model(here, num(15, 1)), "the field 15 is of the wire type 0 instead of 2"},
		"two sparse values": {model(sub(15, sub(1), here, sub(1))), "the field 1 is there twice"},
		"node's name":       {model(op(str(3, "a"), here, str(3, "b"))), "the field 3 is there twice"},
		"node's operator":   {model(op(str(4, "a"), here, str(4, "b"))), "the field 4 is there twice"},
		"node's domain":     {model(op(str(7, "a"), here, str(7, "b"))), "the field 7 is there twice"},
		"node's output":     {model(op(here, num(2, 1))), "the field 2 is of the wire type 0 instead of 2"},
		"node's attribute":  {model(op(here, num(5, 1))), "the field 5 is of the wire type 0 instead of 2"},
		"attribute's name":  {model(op(attr("a", here, str(1, "b")))), "the field 1 is there twice"},
		"two tensors":       {model(op(attr("a", sub(5), here, sub(5)))), "the field 5 is there twice"},
		"two graphs":        {model(op(attr("a", sub(6), here, sub(6)))), "the field 6 is there twice"},
		"two floats":        {model(op(attr("a", tag(2, 5), zeros(4), here, tag(2, 5), zeros(4)))), "the field 2 is there twice"},
		"two integers":      {model(op(attr("a", num(3, 1), here, num(3, 1)))), "the field 3 is there twice"},
		"floats":            {model(op(attr("a", here, num(7, 1)))), "the field 7 is of the wire type 0 instead of 5"},
		"half a float":      {model(op(attr("a", here, sub(7, zeros(6))))), "6 bytes of numbers of 4 bytes"},
		"ints":              {model(op(attr("a", here, tag(8, 5), zeros(4)))), "the field 8 is of the wire type 5 instead of 0"},
		"list of ints":      {model(constant("a", "value_ints", sub(8, here, bin(0x80)))), "a number does not end before its message does, at byte 36"},
		"list of tensors":   {model(op(attr("a", here, num(10, 1)))), "the field 10 is of the wire type 0 instead of 2"},
		"list of graphs":    {model(op(attr("a", here, num(11, 1)))), "the field 11 is of the wire type 0 instead of 2"},

		"a type of another": {model(op(sub(5, here, num(20, 5), sub(5, typ(2), raw(zeros(1)))))), "an attribute of the type 5 holds something else"},
		"an unknown type":   {model(op(sub(5, here, num(20, 99), sub(5)))), "an attribute of the type 99 holds something else"},
		"two kinds":         {model(op(sub(5, here, num(20, 4), sub(5), num(3, 1)))), "an attribute of the type 4 holds something else"},
		"two types":         {model(op(sub(5, num(20, 4), here, num(20, 4)))), "the field 20 is there twice"},
		"a float of ints":   {model(op(str(2, "a"), str(4, "Constant"), sub(5, here, str(1, "value_float"), num(20, 2), num(3, 1)))), "the attribute value_float of a Constant is of another type than 1"},
		"an int, no type":   {model(op(str(2, "a"), str(4, "Constant"), sub(5, here, str(1, "value_floats"), num(3, 1)))), "the attribute value_floats of a Constant is of another type than 6"},
		"name twice":        {model(simple("a"), initial(here, dims(2), typ(1), named("a"), raw(zeros(8)))), `the tensor "a" is there twice in one graph`},
		"no name twice":     {model(initial(typ(8)), initial(here, typ(8))), `the tensor "" is there twice in one graph`},
		"constant twice":    {model(constant("a", "value_int", num(3, 1)), initial(here, typ(2), named("a"), raw(zeros(1)))), `the tensor "a" is there twice in one graph`},
		"two values":        {model(op(str(4, "Constant"), str(2, "a"), attr("value_int", num(3, 1)), sub(5, here, str(1, "value_float"), tag(2, 5), f32(1)))), `the tensor "a" is there twice in one graph`},
		"in a graph, twice": {model(op(attr("g", sub(6, simple("a"), initial(here, typ(8), named("a")))))), `the tensor "a" is there twice in one graph`},
		"tensor's name":     {body(named("a"), here, named("a")), "the field 8 is there twice"},
		"type twice":        {body(typ(1), here, typ(1)), "the field 2 is there twice"},
		"raw twice":         {f(raw(zeros(8)), here, raw(zeros(8))), "the field 9 is there twice"},
		"type of text":      {body(here, str(2, "x")), "the field 2 is of the wire type 2 instead of 0"},
		"raw a number":      {body(here, num(9, 1)), "the field 9 is of the wire type 0 instead of 2"},
		"dims fixed":        {body(here, tag(1, 5), zeros(4)), "the field 1 is of the wire type 5 instead of 2"},
		"dims cut off":      {body(sub(1, here, bin(0x80))), "a number does not end before its message does, at byte 9"},
		"65 dims":           {body(here, sub(1, bin(bytes.Repeat([]byte{1}, 65)...))), "a tensor has over 64 dimensions"},
		"65th dim":          {body(sub(1, bin(bytes.Repeat([]byte{1}, 64)...)), here, num(1, 1)), "a tensor has over 64 dimensions"},
		"dimension -1":      {body(here, num(1, -1)), "a tensor has a dimension of -1"},
		"dimension -2^63":   {body(here, sub(1, packed(top))), "a tensor has a dimension of -9223372036854775808"},
		"2^64 elements":     {body(dims(1<<32, 1<<32), typ(1), named("a")), `the tensor "a": [4294967296 4294967296] has over 63 bits of elements: shape does not fit its dtype`},
		"2^63 bytes":        {body(dims(1<<60), typ(11), named("a")), `the tensor "a": [1152921504606846976] of F64 is over 63 bits of bytes: shape does not fit its dtype`},
		"segment twice":     {body(sub(3), here, sub(3)), "the field 3 is there twice"},
		"location 2":        {body(here, num(14, 2)), "a tensor is in the unknown location 2"},
		"location -1":       {body(here, num(14, -1)), "a tensor is in the unknown location 18446744073709551615"},
		"location twice":    {body(num(14, 0), here, num(14, 0)), "the field 14 is there twice"},
		"a name of 64 KiB":  {model(initial(tag(8, 2), varint(maxName+1), here, zeros(maxName+1))), "a length of 65537 is over the limit of 65536"},

		"no data":           {f(), `the tensor "a" has no data, F32[2] needs 8 bytes`},
		"one byte less":     {f(tag(9, 2), varint(7), here, zeros(7)), `the tensor "a" has 7 bytes, F32[2] needs 8`},
		"one byte more":     {f(tag(9, 2), varint(9), here, zeros(9)), `the tensor "a" has 9 bytes, F32[2] needs 8`},
		"empty raw":         {f(tag(9, 2), varint(0), here), `the tensor "a" has 0 bytes, F32[2] needs 8`},
		"none needed":       {body(dims(0), typ(1), named("a"), tag(9, 2), varint(1), here, zeros(1)), `the tensor "a" has 1 bytes, F32[0] needs 0`},
		"raw and floats":    {f(raw(zeros(8)), sub(4, zeros(8))), `the tensor "a" has data in 2 forms`},
		"empty raw, floats": {f(raw(), sub(4, zeros(8))), `the tensor "a" has data in 2 forms`},
		"two typed":         {f(sub(4, zeros(8)), sub(5, zeros(2))), `the tensor "a" has data in 2 forms`},
		"another typed":     {f(sub(10, zeros(16))), `the tensor "a" of F32 has its data in double_data`},
		"floats of an int":  {body(dims(2), typ(7), named("a"), sub(5, zeros(2))), `the tensor "a" of I64 has its data in int32_data`},
		"a float less":      {f(tag(4, 2), varint(4), here, zeros(4)), `the tensor "a" has 1 numbers, F32[2] needs 2`},
		"a float more":      {f(tag(4, 5), here, zeros(4), tag(4, 2), varint(8), zeros(8)), `the tensor "a" has 3 numbers, F32[2] needs 2`},
		"half of a number":  {body(dims(1), typ(14), named("a"), tag(4, 2), varint(4), here, zeros(4)), `the tensor "a" has 1 numbers, C64[1] needs 2`},
		"a piece of floats": {f(here, sub(4, zeros(7))), "7 bytes of numbers of 4 bytes"},
		"floats as varints": {f(here, num(4, 1)), "the field 4 is of the wire type 0 instead of 5"},
		"ints as floats":    {body(typ(6), here, tag(5, 5), zeros(4)), "the field 5 is of the wire type 5 instead of 0"},
		"an int less":       {body(dims(2), typ(6), named("a"), tag(5, 2), varint(2), here, packed(128)), `the tensor "a" has 1 numbers, I32[2] needs 2`},
		"an int more":       {body(dims(2), typ(6), named("a"), tag(5, 2), varint(3), packed(1, 2), here, packed(3)), `a tensor has more numbers than it needs`},
		"an int cut off":    {body(dims(1), typ(6), named("a"), sub(5, packed(1), here, bin(0x80))), `a number does not end before its message does, at byte 17`},
		"an int too long":   {body(dims(1), typ(6), named("a"), sub(5, here, bin(bytes.Repeat([]byte{0x80}, 11)...))), `a number of over 64 bits`},
		"int32 of 2^31":     {body(dims(1), typ(6), named("a"), sub(5, here, packed(1<<32))), `a number of 4294967296 in int32_data`},
		"int8 of 128":       {body(dims(1), typ(3), named("a"), sub(5, here, packed(128))), `a number of 128 is none of I8`},
		"uint8 of -1":       {body(dims(1), typ(2), named("a"), tag(5, 0), here, packed(-1)), `a number of -1 is none of U8`},
		"bool of 2":         {body(dims(1), typ(9), named("a"), sub(5, here, packed(2))), `a number of 2 is none of BOOL`},
		"half of 2^16":      {body(dims(1), typ(10), named("a"), sub(5, here, packed(1<<16))), `a number of 65536 is none of F16`},
		"uint32 of 2^32":    {body(dims(1), typ(12), named("a"), sub(11, here, packed(1<<32))), `a number of 4294967296 is none of U32`},
		"uint32 of -1":      {body(dims(1), typ(12), named("a"), sub(11, here, packed(-1))), `a number of -1 is none of U32`},
		"2^50 numbers":      {body(dims(1<<50), typ(7), named("a"), tag(7, 2), varint(2), here, packed(1, 2)), `the tensor "a" has 2 numbers, I64[1125899906842624] needs 1125899906842624`},
	} {
		t.Run(name, func(t *testing.T) {
			parse.Refuses(t, c.file.b, int64(len(c.file.b)), int64(c.file.mark), c.msg)
		})
	}
}

func TestExternal(t *testing.T) {
	file := func(pieces ...piece) piece {
		return body(append([]piece{dims(2), typ(1), named("a"), num(14, 1)}, pieces...)...)
	}
	at := func(location string) piece { return file(entry("location", location)) }
	lies := func(location, why string) string {
		return fmt.Sprintf("the tensor \"a\" lies in %q, which %s", location, why)
	}
	offset := func(o string) piece { return file(entry("location", "w"), entry("offset", o)) }
	long := strings.Repeat("x", maxValue+1)
	for name, c := range map[string]struct {
		file piece
		msg  string
	}{
		"absolute":           {at("/etc/passwd"), lies("/etc/passwd", "is an absolute path")},
		"..":                 {at("../../etc/passwd"), lies("../../etc/passwd", "leads out of the folder")},
		"inner ..":           {at("a/../b"), lies("a/../b", "leads out of the folder")},
		"last ..":            {at("a/.."), lies("a/..", "leads out of the folder")},
		"only ..":            {at(".."), lies("..", "leads out of the folder")},
		"backslash":          {at(`..\..\w`), lies(`..\..\w`, `has a \ in it`)},
		"drive":              {at("C:w"), lies("C:w", "is an absolute path")},
		"UNC":                {at(`\\host\w`), lies(`\\host\w`, `has a \ in it`)},
		"NUL":                {at("w\x00.bin"), lies("w\x00.bin", "no path can be")},
		"no UTF-8":           {at("w\xff"), lies("w\xff", "no path can be")},
		"nothing":            {at(""), lies("", "is no path")},
		"none":               {file(), lies("", "is no path")},
		"the folder":         {at("."), lies(".", "is a folder")},
		"a folder":           {at("a/"), lies("a/", "is a folder")},
		"a folder, dotted":   {at("a/."), lies("a/.", "is a folder")},
		"the model":          {at("model.onnx"), `the tensor "a" has external data in the model's own file`},
		"the model, dotted":  {at("././/model.onnx"), `the tensor "a" has external data in the model's own file`},
		"a path of 4097":     {file(sub(13, str(1, "location"), join(tag(2, 2), varint(uint64(len(long))), here, bin([]byte(long)...)))), "a length of 4097 is over the limit of 4096"},
		"another key":        {file(sub(13, here, str(1, "basepath"), str(2, "/"))), `the tensor "a" has external data with the key "basepath"`},
		"__class__":          {file(sub(13, here, str(1, "__class__"))), `the tensor "a" has external data with the key "__class__"`},
		"no key":             {file(sub(13, here)), `the tensor "a" has external data with the key ""`},
		"a key twice":        {file(entry("location", "w"), sub(13, here, str(1, "location"), str(2, "w"))), `the tensor "a" has external data with two of the key location`},
		"key of a key":       {file(sub(13, str(1, "location"), here, str(1, "location"))), "the field 1 is there twice"},
		"two values":         {file(sub(13, str(2, "a"), here, str(2, "b"))), "the field 2 is there twice"},
		"a number":           {file(sub(13, here, num(1, 1))), "the field 1 is of the wire type 0 instead of 2"},
		"offset -1":          {offset("-1"), `the tensor "a" lies at the offset "-1"`},
		"offset -0":          {offset("-0"), `the tensor "a" lies at the offset "-0"`},
		"offset +1":          {offset("+1"), `the tensor "a" lies at the offset "+1"`},
		"offset 1_0":         {offset("1_0"), `the tensor "a" lies at the offset "1_0"`},
		"offset 0x1":         {offset("0x1"), `the tensor "a" lies at the offset "0x1"`},
		"offset of space":    {offset(" 1"), `the tensor "a" lies at the offset " 1"`},
		"no offset":          {offset(""), `the tensor "a" lies at the offset ""`},
		"offset 2^63":        {offset("9223372036854775808"), `the tensor "a" lies at the offset "9223372036854775808"`},
		"offset 2^63 - 8":    {offset("9223372036854775800"), `the tensor "a" ends behind byte 2^63`},
		"length 7":           {file(entry("location", "w"), entry("length", "7")), `the tensor "a" has "7" bytes, F32[2] needs 8`},
		"length 0":           {file(entry("location", "w"), entry("length", "0")), `the tensor "a" has "0" bytes, F32[2] needs 8`},
		"no length":          {file(entry("location", "w"), entry("length", "")), `the tensor "a" has "" bytes, F32[2] needs 8`},
		"raw as well":        {file(entry("location", "w"), raw(zeros(8))), `the tensor "a" has data in 2 forms`},
		"floats as well":     {file(entry("location", "w"), sub(4, zeros(8))), `the tensor "a" has data in 2 forms`},
		"not external":       {body(dims(2), typ(1), named("a"), raw(zeros(8)), entry("location", "w")), `the tensor "a" says where external data are, and that it has none`},
		"entries not bytes":  {file(here, num(13, 1)), "the field 13 is of the wire type 0 instead of 2"},
		"entry out of place": {file(sub(13, here, tag(1, 2), varint(9))), "the field 1 has a length of 9, 0 bytes are left of its message"},
	} {
		t.Run(name, func(t *testing.T) {
			parse.Refuses(t, c.file.b, int64(len(c.file.b)), int64(c.file.mark), c.msg)
		})
	}
}

// sound is a small file with a bit of everything, but for data behind its end.
func sound() []byte {
	return join(sub(25, str(1, "f"), sub(7, str(2, "c"), str(4, "Constant"), attr("value_int", num(3, 1)))), model(
		simple("a"),
		op(str(2, "y"), str(3, "n"), str(4, "If"), attr("g", sub(6, simple("a"), constant("b", "value_floats", tag(7, 5), f32(1), sub(7, f32(2)))))),
		initial(dims(2), typ(6), named("c"), sub(5, packed(-1, 300))),
		initial(dims(2), typ(10), num(5, 7), num(5, 8), named("d")),
		initial(dims(2), typ(1), named("e"), outside(entry("location", "w/x"), entry("offset", "16"), entry("length", "8"))),
		initial(dims(3), typ(22), raw(zeros(2)), named("f")),
		sub(15, sub(1, named("g"))),
		initial(dims(1), typ(7), named("h"), num(7, -1)),
	)).b
}

func TestDamaged(t *testing.T) {
	file := sound()
	parse.Cut(t, file, len(file))
	parse.Flip(t, file, len(file), func(ix *tensors.Index) { check(t, ix, int64(len(file))) })
	for _, step := range []int{40, 100} {
		parse.Fail(t, file, step)
	}
}

// TestMemory: files that are made to cost much for few bytes.
func TestMemory(t *testing.T) {
	many := func(n int, one func(i int) piece) piece {
		var b []byte
		for i := range n {
			b = append(b, one(i).b...)
		}
		return piece{b, -1}
	}
	short := func(i int) string { return string(varint(uint64(i)).b) }
	name := strings.Repeat("n", 200)
	for what, c := range map[string]struct {
		file piece
		fits bool
	}{
		"empty tensors":       {model(many(20_000, func(i int) piece { return initial(dims(0), typ(1), named(short(i))) })), true},
		"typed tensors":       {model(many(20_000, func(i int) piece { return initial(typ(2), num(5, 1), named(short(i))) })), true},
		"constants":           {model(many(20_000, func(i int) piece { return constant(short(i), "value_int", num(3, 1)) })), true},
		"findings":            {model(many(20_000, func(i int) piece { return initial(typ(60), named(short(i))) })), true},
		"sparse":              {model(many(20_000, func(int) piece { return sub(15) })), true},
		"empty nodes":         {model(many(100_000, func(int) piece { return op() })), true},
		"empty attributes":    {model(op(many(100_000, func(int) piece { return sub(5) }))), true},
		"empty graphs":        {model(op(attr("a", many(50_000, func(int) piece { return sub(11) })))), true},
		"functions":           {join(many(50_000, func(int) piece { return sub(25) }), model()), true},
		"training":            {join(many(20_000, func(int) piece { return sub(20, sub(1)) }), model()), true},
		"lists":               {model(op(str(3, name), attr(name, many(30_000, func(int) piece { return sub(10) })))), false},
		"paths":               {model(op(str(3, name), attr(name, sub(6, many(10_000, func(i int) piece { return initial(dims(0), typ(1), named(short(i))) }))))), false},
		"paths of a model":    {model(op(str(3, name[:60]), attr("then_branch", sub(6, many(10_000, func(i int) piece { return initial(dims(0), typ(1), named(fmt.Sprintf("onnx::Gemm_%d", i))) }))))), true},
		"paths of findings":   {model(op(str(3, name), attr(name, sub(6, many(30_000, func(i int) piece { return initial(typ(60), named(short(i))) }))))), false},
		"one path":            {model(many(10_000, func(int) piece { return op(str(3, "n"), attr("a", sub(5, typ(2), raw(zeros(1))))) })), true},
		"single numbers":      {model(initial(dims(100_000), typ(6), named("a"), many(100_000, func(int) piece { return num(5, 1) }))), true},
		"single dims":         {model(many(3000, func(i int) piece { return initial(typ(2), named(short(i)), sub(1, zeros(64))) })), true},
		"entries":             {model(initial(num(14, 1), typ(2), many(50_000, func(int) piece { return sub(13) }))), false},
		"a list of 2^40 bits": {model(constant("a", "value_ints", sub(8, zeros(300_000)))), true},
	} {
		t.Run(what, func(t *testing.T) {
			size := int64(len(c.file.b))
			ix, err := parse.Look(t, c.file.b, size)
			if (err == nil) != c.fits {
				t.Fatal(err)
			}
			if err == nil {
				check(t, ix, size)
			}
		})
	}
}

// TestLimits: what would take long is refused, in time.
func TestLimits(t *testing.T) {
	parse := func(file piece) (err error) {
		if n := hostile.Allocated(1<<20, func() { _, err = parse(bytes.NewReader(file.b), int64(len(file.b))) }); n > 1<<20 {
			t.Errorf("it took %d bytes", n)
		}
		return err
	}
	fields := bytes.Repeat([]byte{9 << 3, 0}, maxFields)
	if err := parse(model(bin(fields...))); err == nil || !strings.Contains(err.Error(), "over 16777216 fields") {
		t.Error(err)
	}
	if err := parse(model(bin(fields[:len(fields)-10]...))); err != nil {
		t.Error(err)
	}
	list := zeros(maxCounted + 1)
	if err := parse(model(constant("a", "value_ints", sub(8, list)))); err == nil || !strings.Contains(err.Error(), "which is too much") {
		t.Error(err)
	}
	// Not looked at, but for whether it can be: it is left to the Maker.
	for n, fits := range map[int64]bool{maxCounted + 1: true, maxCounted + 2: false, maxCounted/10 + 1: true, maxCounted/10 - 1: false} {
		if err := parse(model(initial(dims(n), typ(7), named("a"), sub(7, list)))); (err == nil) != fits {
			t.Errorf("%d numbers: %v", n, err)
		}
	}
	if err := parse(model(initial(dims(maxCounted+1), typ(2), named("a"), sub(5, list)))); err != nil {
		t.Error(err)
	}
}

// TestMake: a maker fails where its file is another one, cannot be read, or nobody
// waits any more.
func TestMake(t *testing.T) {
	file := model(initial(dims(40_000), typ(10), named("a"), sub(5, packed(slices.Repeat([]int64{300, 1}, 20_000)...)))).b
	ix, err := parse(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	m := ix.Tensors[0].Maker
	dst := make([]byte, ix.Tensors[0].NBytes)
	for range 2 {
		if err := m.Make(t.Context(), bytes.NewReader(file), dst); err != nil || !bytes.Equal(dst[:4], []byte{0x2c, 1, 1, 0}) || !bytes.Equal(dst[:4], dst[len(dst)-4:]) {
			t.Errorf("%x, %v", dst[:4], err)
		}
	}
	if n := hostile.Allocated(3*makerPage, func() { _ = m.Make(context.Background(), bytes.NewReader(file), dst) }); n > 3*makerPage {
		t.Errorf("it took %d bytes", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Make(ctx, bytes.NewReader(file), dst); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for what, change := range map[string]func([]byte) []byte{
		"cut off":    func(b []byte) []byte { return b[:len(b)-1] },
		"empty":      func([]byte) []byte { return nil },
		"one more":   func(b []byte) []byte { b[len(b)-1], b[len(b)-2], b[len(b)-3] = 1, 1, 1; return b },
		"one less":   func(b []byte) []byte { b[len(b)-1], b[len(b)-2], b[len(b)-3] = 1, 0x82, 0x81; return b },
		"wrong type": func(b []byte) []byte { b[len(b)-1] = 0x85; return b },
	} {
		var wrong *malformed.Error
		if err := m.Make(t.Context(), bytes.NewReader(change(slices.Clone(file))), dst); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for step := range 3 {
		if err := m.Make(t.Context(), failing{bytes.NewReader(file), int64(step) * 20_000}, dst); !errors.Is(err, errDevice) {
			t.Error(err)
		}
	}
	single := model(initial(dims(5000), typ(1), named("a"), bin(bytes.Repeat([]byte{4<<3 | 5, 1, 2, 3, 4}, 5000)...))).b
	more := slices.Clone(single)
	for i := len(more) - 25_000; i < len(more); i += 5 {
		copy(more[i:], []byte{4<<3 | 2, 3, 12 << 3, 0, 0}) // 3 bytes of floats
	}
	if ix, err = parse(bytes.NewReader(single), int64(len(single))); err != nil {
		t.Fatal(err)
	}
	if err := ix.Tensors[0].Maker.Make(ctx, bytes.NewReader(single), make([]byte, 20_000)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var wrong *malformed.Error
	if err := ix.Tensors[0].Maker.Make(t.Context(), bytes.NewReader(more), make([]byte, 20_000)); !errors.As(err, &wrong) || wrong.Msg != "a tensor has more numbers than it needs" {
		t.Error(err)
	}
	copy(more[len(more)-25_000:], join(tag(4, wireBytes), varint(24_996)).b)
	if err := ix.Tensors[0].Maker.Make(t.Context(), bytes.NewReader(more), make([]byte, 20_000)); !errors.As(err, &wrong) || wrong.Msg != "a tensor has more numbers than it needs" {
		t.Error(err)
	}
}

var errDevice = errors.New("input/output error")

// failing fails from a byte on.
type failing struct {
	r  io.ReaderAt
	at int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		n, _ := f.r.ReadAt(p[:max(0, min(int64(len(p)), f.at-off))], off)
		return n, errDevice
	}
	return f.r.ReadAt(p, off)
}
