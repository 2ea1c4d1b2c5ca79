#!/bin/sh
# Imports the images that every node has, once in the life of the disk. Kubelet starts after that: a pod whose image is missing
# would wait for kubelet's next attempt.
. /etc/node/settings.sh
until ctr --address "$SOCKET" version >/dev/null 2>&1; do sleep 0.5; done
if [ ! -e /images/loaded ]; then
	for archive in /images/*.tar; do
		ctr --address "$SOCKET" --namespace k8s.io images import "$archive" || exit 1
	done
	touch /images/loaded
fi
touch /run/images-loaded
