# Short names for what `docker compose` does with the files of docker/compose/. An
# image that is new has its targets as soon as `cargo xtask render` has written its
# file.

COMPOSE ?= docker compose
FILES := docker/compose
# Only whole files: an override has a dot in its name.
IMAGES := $(strip $(foreach file,$(basename $(notdir $(wildcard $(FILES)/*.yaml))),$(if $(findstring .,$(file)),,$(file))))
# Beside an image `genie` one may be called `genie-stop`: the target is that image, and
# never another one's end.
targets = $(filter-out $(IMAGES),$(IMAGES:%=%-$(1)))
# A database alone has no app to put another one in the place of.
WITH_APP := $(patsubst $(FILES)/%.dev.yaml,%,$(wildcard $(FILES)/*.dev.yaml))
targets-of-apps = $(filter $(WITH_APP:%=%-$(1)),$(call targets,$(1)))

.PHONY: help $(IMAGES) $(foreach verb,stop restart logs status,$(call targets,$(verb))) $(foreach verb,dev reload,$(call targets-of-apps,$(verb)))

help:
	@echo "for each IMAGE of: $(IMAGES)"
	@echo "  make IMAGE          start it, and wait until it is healthy"
	@echo "  make IMAGE-stop     stop it; its data stay"
	@echo "  make IMAGE-restart  stop and start it as it is"
	@echo "  make IMAGE-logs     what it says, until Ctrl-C"
	@echo "  make IMAGE-status   whether it runs, and how it is"
	@echo "  make IMAGE-dev      start it with the app of this checkout"
	@echo "  make IMAGE-reload   start its app again, after an edit"

$(IMAGES):
	$(COMPOSE) -f $(FILES)/$@.yaml up --detach --wait

$(call targets,stop): %-stop:
	$(COMPOSE) -f $(FILES)/$*.yaml down

$(call targets,restart): %-restart:
	$(COMPOSE) -f $(FILES)/$*.yaml restart

$(call targets,logs): %-logs:
	$(COMPOSE) -f $(FILES)/$*.yaml logs --follow

$(call targets,status): %-status:
	$(COMPOSE) -f $(FILES)/$*.yaml ps --all

$(call targets-of-apps,dev): %-dev:
	$(COMPOSE) -f $(FILES)/$*.yaml -f $(FILES)/$*.dev.yaml up --detach --wait

$(call targets-of-apps,reload): %-reload:
	$(COMPOSE) -f $(FILES)/$*.yaml exec -T $* supervisorctl restart app
