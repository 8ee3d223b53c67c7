// Copyright The modelfs Authors
// SPDX-License-Identifier: Apache-2.0

// Package models answers for whole models: load one, hold it, evict it, pin it,
// say in which state it is and who uses it. It joins what is known of models
// (package catalog) with what of them is resident (package cache) and with the
// processes that have something of them open or mapped (package users).
//
// Reading the state of a model never loads it, and reads no header but where names
// do not tell what a checkpoint is (see package catalog).
//
// A Hold is a reference on a model's primary checkpoint: it loads in the
// background and keeps what it has loaded until it is released.
package models
