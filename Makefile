# A thin front to meson, so that the usual things are one word. `make` alone prints this list.
SHELL := /bin/sh
BUILD ?= build
PREFIX ?= /usr/local
DEB ?= .
FUZZ_SECONDS ?= 60
comma := ,
CLANG_FORMAT ?= $(shell command -v clang-format-14 || echo clang-format)
SOURCES = $(shell find src include tests tools bench -name '*.[ch]' 2>/dev/null)
RUNTIME = $(BUILD)/src/programs/runtime/creto-runtime

# What `make run` runs inside.
define HELLO
import os, socket, sys
other = [name for _, name in socket.if_nameindex() if name != "lo"]
print("hello from python %d.%d inside a sandbox: uid %d, pid %d, %s" % (
    *sys.version_info[:2], os.getuid(), os.getpid(), "network " + " ".join(other) if other else "no network"))
endef
export HELLO

.PHONY: help deps deps-run deps-guest build run test check bench fuzz asan asan-build clang fmt fmt-check lint install deb clean

help:
	@echo 'make run       build it and run a first program in a sandbox'
	@echo 'make test      build it and run all tests (as root: all of them; else those that an ordinary user can run)'
	@echo
	@echo 'make deps      install what building, running and testing need (Debian packages, see deps/)'
	@echo 'make build     build in $(BUILD)/'
	@echo 'make check     formatting, lint, floors, docs, and the tests'
	@echo 'make bench     measure against peers'
	@echo 'make fuzz      fuzz each target for FUZZ_SECONDS=$(FUZZ_SECONDS) seconds'
	@echo 'make asan      unit and fuzz tests with the address and undefined behaviour sanitizers'
	@echo 'make clang     build with clang in build-clang/'
	@echo 'make fmt       format the sources'
	@echo 'make lint      cppcheck and tools/check-*'
	@echo 'make install   install to PREFIX=$(PREFIX), below DESTDIR if given'
	@echo 'make deb       build a Debian package in DEB=$(DEB)'
	@echo 'make clean     remove the build directories'

deps:
	@deps/install deps/debian-build.txt deps/debian-run.txt
	@deps/install --optional deps/debian-test.txt

deps-run:
	@deps/install deps/debian-build.txt deps/debian-run.txt

deps-guest:
	@deps/install --optional deps/debian-guest.txt

# $(call setup,DIR,ARGUMENTS): meson prints a screenful; it is shown where it fails, and kept in meson-logs/ anyway.
setup = [ -f $(1)/build.ninja ] || log=$$(meson setup $(1) $(2) $(MESON_ARGS) 2>&1) || { printf '%s\n' "$$log"; exit 1; }

$(BUILD)/build.ninja:
	@$(call setup,$(BUILD),--prefix=$(PREFIX))

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

run: deps-run
	@$(MAKE) --no-print-directory build
	@$(RUNTIME) run --runtime native -- python3 -c "$$HELLO"

test: deps
	@$(MAKE) --no-print-directory build
	@tests/run $(TEST_ARGS)

check: deps
	@$(MAKE) --no-print-directory fmt-check lint
	@$(MAKE) --no-print-directory test

bench: deps
	@$(MAKE) --no-print-directory build
	@bench/run --build $(BUILD)

fuzz:
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tools/fuzz

asan-build:
	@export CC=gcc; $(call setup,build-asan,-Db_sanitize=address$(comma)undefined -Dmusl=disabled)
	@ninja -C build-asan --quiet

asan: asan-build
	@meson test -C build-asan --no-rebuild --print-errorlogs --suite unit --suite fuzz

clang:
	@export CC=clang; $(call setup,build-clang,)
	@ninja -C build-clang --quiet

fmt:
	@$(CLANG_FORMAT) -i $(SOURCES)

# Another major version breaks lines elsewhere, so only the one that .clang-format is written for judges.
fmt-check:
	@if $(CLANG_FORMAT) --version | grep -q 'version 14\.'; then $(CLANG_FORMAT) --dry-run -Werror $(SOURCES); \
	else echo 'fmt-check: skipped, clang-format 14 is not installed'; fi

# ctuuninitvar does not see that err_set() fills the struct it is given.
lint:
	@cppcheck --quiet --error-exitcode=1 --enable=warning,portability,performance --inline-suppr --std=c11 --suppress=ctuuninitvar \
		--suppress=internalAstError --suppress=unknownMacro --suppress=missingInclude --suppress=missingIncludeSystem -Iinclude -Isrc -DCRETO_VERSION='"0"' -D__x86_64__ src
	@tools/check-floors
	@tools/check-docs
	@tools/check-openapi

install: $(BUILD)/build.ninja
	@meson configure $(BUILD) -Dprefix=$(PREFIX)
	@ninja -C $(BUILD) --quiet
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))

deb: deps-run
	@$(call setup,$(BUILD)/deb,--prefix=/usr --libexecdir=libexec --buildtype=release)
	@ninja -C $(BUILD)/deb --quiet
	@tools/make-deb $(BUILD)/deb $(DEB)

clean:
	@rm -rf build build-asan build-clang build-fuzz build-gcc
