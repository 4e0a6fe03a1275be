#!/bin/bash
# The sizes of the corpus's programs, off and on (selftests/figures.c).
set -euo pipefail
cd /files
./figures images corpus_*.bpf.o | sed 's/^/image off /'
modprobe bailey policy=permit
./figures images corpus_*.bpf.o | sed 's/^/image on /'
