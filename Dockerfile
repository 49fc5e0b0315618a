# One static binary, run by nobody in particular. docker build -t tieline .

FROM node:22-bookworm-slim AS page
WORKDIR /src/graph/graphiql
COPY graph/graphiql/package.json graph/graphiql/package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY graph/graphiql ./
RUN node build.mjs

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
COPY --from=page /src/graph/graphiql/dist graph/graphiql/dist
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/tieline .

# Certificates and time zones, no shell. Its user is 65532.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/tieline /tieline
# Operators' address too is open inside of the container: publish 8080 to the world, 8081 to operators alone.
ENV TIELINE_ADDR=0.0.0.0:8080 TIELINE_OPS_ADDR=0.0.0.0:8081
EXPOSE 8080 8081
ENTRYPOINT ["/tieline"]
CMD ["serve"]
