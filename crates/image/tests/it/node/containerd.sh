#!/bin/sh
# `containerd config dump`: the lines around the snapshotter.
printf "version = 3\n  [plugins.'io.containerd.cri.v1.images']\n    snapshotter = 'native'\n          snapshotter = ''\n"
