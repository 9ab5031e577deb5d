# Two commands: `make book` builds the site, `make test` checks everything. Both are safe to repeat.

PYTHON ?= python3
BIN := .venv/bin
# Another Python gets another environment: make test-colab PYTHON=python3.13
COLAB := .venv-colab/$(shell $(PYTHON) -c 'import platform; print(platform.python_version())')
CHAPTERS := $(wildcard chapters/*.ipynb)

# One thread each keeps the processes of a test run on two cores apart.
ONE_THREAD := OMP_NUM_THREADS=1

define BUILD_SITE
$(BIN)/jupyter-book build . -W -n --keep-going --quiet
$(BIN)/python tools/bundle.py _build/book.zip
cp _build/book.zip _build/html/
endef

.PHONY: book zip pdf publish links serve execute coursework public test test-colab bench repository
.PHONY: lock clean

book: .venv/book
	rm -rf _build
	$(BUILD_SITE)
	@echo "The book is built. Open $(CURDIR)/_build/html/index.html"

# The notebooks and the library for a reader to take home: _build/book.zip.
zip: .venv/book
	$(BIN)/python tools/bundle.py _build/book.zip

# The whole book on paper: _build/book.pdf, printed by chromium from the built site.
pdf: .venv/pdf book
	$(BIN)/python tools/pdf.py _build/book.pdf

# The site as it is published. It is built again, as it offers the printed book only now.
publish: pdf
	rm -rf _build/html
	$(BUILD_SITE)

# Do the addresses outside the book still lead somewhere?
links: .venv/book
	$(BIN)/jupyter-book build . --builder linkcheck --path-output _build/links --quiet

serve: book
	@echo "The book is at http://localhost:8000 (stop with Ctrl-C)"
	@$(BIN)/python -m http.server 8000 --bind localhost --directory _build/html

# Write notebooks and their outputs anew: all, or `make execute CHAPTER=neural_collapse`.
execute: .venv/test
	$(BIN)/python tools/execute.py $(CHAPTER)

# The editions of all assignments, or `make coursework ASSIGNMENT=hw1`: the student's in assignments/,
# the instructor's and Gradescope's in _build/coursework/.
coursework: .venv/test
	$(ONE_THREAD) $(BIN)/python tools/coursework.py $(ASSIGNMENT)

# What may be published, without solutions, hidden tests and history: make public DEST=../book-public
public: .venv/test
	$(BIN)/python tools/public.py $(DEST)

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --ignore=tests/site
	$(ONE_THREAD) $(BIN)/python -m pytest --nbval -n 2 --dist loadscope $(CHAPTERS)
	$(MAKE) --no-print-directory book
	-$(BIN)/python tools/pdf.py _build/book.pdf  # what fails here fails again in the next line
	$(BIN)/python -m pytest -n 2 tests/site

# The chapters in an environment with Colab's versions; outputs are not compared there.
test-colab: $(COLAB)/ready
	$(ONE_THREAD) $(COLAB)/bin/python -m pytest --nbval-lax $(CHAPTERS)
	$(COLAB)/bin/python -m pytest tests/explore -k live

# Side-by-side timings, printed as ratios from one run; not part of the tests.
bench: .venv/test
	$(BIN)/python -m pytest tests/benchmarks/bench_*.py -s

# Set the address of the repository everywhere: make repository URL=https://github.com/you/book
repository:
	$(PYTHON) tools/repository.py $(URL)

# Pin anew what pyproject.toml asks for.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet --upgrade "pip>=25.1"
	.venv-lock/bin/pip install --quiet --group test --editable .
	.venv-lock/bin/pip freeze --exclude lecturelib | sed -E -e 's/\+cpu//' -e '/^(nvidia|triton|cuda)/d' \
		-e '1i # Written by `make lock` from pyproject.toml: all that builds the book and runs its tests.' \
		> requirements.txt
	rm -rf .venv-lock

clean:
	rm -rf _build .venv .venv-colab .venv-lock

.venv/book: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint requirements.txt --group book
	touch $@

.venv/pdf: .venv/book
	$(BIN)/python -m pip install --quiet --constraint requirements.txt --group pdf
	touch $@

.venv/test: .venv/book
	$(BIN)/python -m pip install --quiet --constraint requirements.txt --group test --editable .
	touch $@

$(COLAB)/ready: tests/colab_requirements.txt pyproject.toml
	$(PYTHON) -m venv $(COLAB)
	$(COLAB)/bin/python -m pip install --quiet --requirement tests/colab_requirements.txt
	$(COLAB)/bin/python -m pip install --quiet --constraint tests/colab_requirements.txt --editable .
	touch $@
