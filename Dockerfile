# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src

# The modules are a layer of their own, which lasts until go.mod changes.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download

COPY . .
ARG VERSION=dev
# nomsgpack leaves gin's MessagePack codec out.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags nomsgpack \
    -ldflags="-s -w -X main.version=${VERSION}" \
    -o /tracklane ./cmd/tracklane

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /tracklane /tracklane
EXPOSE 8080
ENTRYPOINT ["/tracklane"]
CMD ["serve"]
